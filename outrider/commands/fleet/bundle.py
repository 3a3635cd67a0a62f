"""`outrider fleet bundle export`: what devices without a network need, on a stick."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.commands.fleet.access import Commands, group, remote

if TYPE_CHECKING:
    from fleet.client import Client


def configure(commands: Commands) -> None:
    """Add `bundle`."""
    bundle = group(commands, "bundle", "for devices without a network")
    export = remote(
        bundle, "export", "write desired states with all they need to a directory or a .tar", _export
    )
    export.add_argument(
        "--device", action="append", required=True, help="may be repeated; objects are shared"
    )
    export.add_argument("--revision", type=int, help="of the desired state; the newest by default")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="DIR|FILE.tar")


def _export(args: argparse.Namespace, client: Client) -> int:
    from fleet.export import export

    bundle = client.bundle(args.device, args.revision)
    shown = sys.stderr.isatty()
    export(client, bundle, args.output, _progress if shown else lambda _done, _total: None)
    size = sum(bundle.objects.values())
    print(
        f"{args.output}: {len(bundle.devices)} device(s), {len(bundle.objects)} objects of {size / 1e6:.1f} MB"
    )
    print(f"  on the device: outrider agent import {args.output.name}")
    return 0


def _progress(done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\r{done / 1e6:.1f} of {total / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)
