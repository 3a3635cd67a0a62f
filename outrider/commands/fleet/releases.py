"""`outrider fleet release …`: releases of the agent itself, made, uploaded, listed, given to devices."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet import catalogue
from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show
from outrider.commands.fleet.registry import progress, uploaded

if TYPE_CHECKING:
    from fleet.client import Client


def configure(commands: Commands) -> None:
    """Add `release`."""
    release = group(commands, "release", "releases of the agent itself")
    _add_build(release)
    upload = remote(release, "upload", "check and store a release", _upload)
    upload.add_argument(
        "path", type=Path, help="the directory that `build` has made, or its .tar.zst, .tar or .zip"
    )
    upload.add_argument("--name", help="the name in the registry; by default one for its Python and platform")
    remote(release, "list", "releases and their versions", _list)
    assign = remote(
        release, "assign", "have devices run a release; for more than a few use a rollout", _assign
    )
    assign.add_argument("reference", metavar="NAME[@VERSION]", help=f"{catalogue.VERSION}; or `installed`")
    assign.add_argument("--device", action="append", default=[], help="may be given more than once")
    assign.add_argument("--selector", default="", help="devices by their labels, instead")
    assign.add_argument(
        "--allow-downgrade", action="store_true", help="also where it is older than what runs"
    )
    catalogue.add(release, "release")


def _add_build(release: Commands) -> None:
    parser = release.add_parser(
        "build",
        help="make a release of the agent's wheel and the wheels it needs",
        description=_build.__doc__,
    )
    parser.add_argument("target", type=Path, help="a new directory")
    parser.add_argument("--wheel", type=Path, required=True, help="the agent's wheel")
    parser.add_argument("--python", default=f"3.{sys.version_info.minor}", help="of the devices")
    parser.add_argument(
        "--platform", default=f"linux-{platform.machine()}", help="linux-x86_64 or linux-aarch64"
    )
    parser.add_argument("--glibc", default="2.28", help="the oldest of the devices; 2.28 by default")
    parser.add_argument(
        "--extra", action="append", default=[], help="of the agent: cpu, gpu, openvino, sinks …"
    )
    parser.add_argument(
        "--add", type=Path, action="append", default=[], metavar="WHEEL", help="take it as it is"
    )
    parser.add_argument("--constraints", type=Path, help="versions that pip is to choose")
    parser.add_argument(
        "--find-links", type=Path, action="append", default=[], metavar="DIR", help="wheels to use"
    )
    parser.add_argument("--offline", action="store_true", help="from --find-links and --add alone")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="what the devices' installation holds, as pip freeze writes it: what is the same is left out",
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(action=_build)


def _build(args: argparse.Namespace) -> int:
    """Wheels come from where pip is set up to find them, or with --offline from --find-links alone."""
    from fleet.release.build import Wanted, base_of, build

    card = build(
        Wanted(
            args.wheel,
            args.python,
            args.platform,
            args.glibc,
            tuple(args.extra),
            tuple(args.add),
            base_of(args.base) if args.base else {},
            args.constraints,
            tuple(args.find_links),
            args.offline,
        ),
        args.target,
    )
    if args.json:
        return print_json(card.to_json())
    held = list(args.target.glob("*.whl"))
    size = sum(path.stat().st_size for path in held)
    print(
        f"{args.target}: outrider {card.version} for Python {card.python} of {card.platform}, glibc {card.glibc or 'any'}"
    )
    print(f"{len(held)} wheel(s), {size / 1e6:.1f} MB; {len(card.base)} taken from the devices' installation")
    return 0


def _upload(args: argparse.Namespace, client: Client) -> int:
    shown = sys.stderr.isatty() and not args.json
    return uploaded(args, client.upload_release(args.path, args.name, progress if shown else None))


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = client.releases()
    columns = {
        "name": "NAME", "version": "VERSION", "release": "RELEASE", "for": "FOR", "digest": "DIGEST", "aliases": "ALIASES",
        "size": "SIZE", "created_at": "WHEN",
    }  # fmt: skip
    shown = []
    for row in rows:
        card = row["card"]["release"]
        facts = {
            "release": card["version"],
            "for": f"{card['python']} {card['platform']}",
            "digest": row["digest"][:19],
            "aliases": ", ".join(row["aliases"]),
            "size": f"{row['size_bytes'] / 1e6:.2f} MB",
        }
        shown.append({**dated(row, "created_at"), **facts})
    return show(args, rows, shown, columns)


def _assign(args: argparse.Namespace, client: Client) -> int:
    """:returns: 1 where no device matches"""
    names = args.device or [row["id"] for row in client.devices(args.selector)]
    if not (args.device or args.selector):
        print("outrider fleet: name devices by --device or --selector", file=sys.stderr)
        return 1
    if not names:
        print(f"outrider fleet: no device matches {args.selector!r}", file=sys.stderr)
        return 1
    told = [_assign_one(args, client, name) for name in names]
    if args.json:
        return print_json(told)
    for row in told:
        print(f"{row['device']}: revision {row['revision']}")
    return 0


def _assign_one(args: argparse.Namespace, client: Client, device: str) -> dict[str, Any]:
    from fleet.rollout.change import patched

    rows = client.revisions(device, 1)
    document, above = (rows[0]["document"], rows[0]["revision"]) if rows else ({}, 0)
    wanted = {"installed": True} if args.reference == "installed" else {"release": args.reference}
    change = {"agent": {**wanted, "allow_downgrade": args.allow_downgrade}}
    made = client.set_desired(device, patched(document, change), above)
    return {"device": device, "revision": made["revision"]}
