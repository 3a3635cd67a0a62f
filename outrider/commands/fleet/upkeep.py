"""`outrider fleet device …`: logs, diagnostics, inventory, restarts, and the end of a device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, remote
from outrider.commands.fleet.output import print_json

if TYPE_CHECKING:
    from fleet.client import Client


def configure(device: Commands) -> None:
    """Add the commands to `device`."""
    logs = remote(device, "logs", "the newest lines of a device's log", _logs)
    logs.add_argument("device")
    logs.add_argument("--lines", type=int, default=200)
    bundle = remote(
        device, "diagnostics", "fetch a device's log, state and figures, without secrets", _bundle
    )
    bundle.add_argument("device")
    bundle.add_argument("--out", type=Path, help="where to; DEVICE-diagnostics.tar.gz by default")
    remote(device, "inventory", "what a device is made of", _inventory).add_argument("device")
    restart = remote(device, "restart-camera", "start a camera's process anew", _restart_camera)
    restart.add_argument("device")
    restart.add_argument("camera")
    remote(device, "reboot", "restart the machine, where its own file allows it", _reboot).add_argument(
        "device"
    )
    retire = remote(device, "retire", "take a device out of service; its name is free then", _retire)
    retire.add_argument("device")
    wipe = remote(device, "wipe", "have a device remove everything it keeps, and retire it", _wipe)
    wipe.add_argument("device")
    wipe.add_argument("--confirm", help="the device's name once more; asked for by default")
    wipe.add_argument("--timeout", type=float, default=30.0, dest="timeout_s", help="seconds")


def _told(answer: Any, args: argparse.Namespace) -> int:
    if args.json or not answer.get("ok"):
        print_json(answer)
    return 0 if answer.get("ok") else 1


def _logs(args: argparse.Namespace, client: Client) -> int:
    answer = client.command(args.device, "log-tail", {"lines": args.lines}, 30.0)
    if answer.get("ok") and not args.json:
        print("\n".join(answer["result"]["lines"]))
    return _told(answer, args)


def _bundle(args: argparse.Namespace, client: Client) -> int:
    answer = client.ask_for_diagnostics(args.device)
    if not answer.get("ok"):
        return _told(answer, args)
    path = args.out or Path(f"{args.device}-diagnostics.tar.gz")
    size = client.fetch_diagnostics(args.device, answer["result"]["id"], path)
    print(f"{path}: {size} bytes")
    return 0


def _inventory(args: argparse.Namespace, client: Client) -> int:
    found = (client.device(args.device)["reported"] or {}).get("inventory")
    if found is None:
        print(f"{args.device} has not told what it is made of; its agent may be older", file=sys.stderr)
        return 1
    if args.json:
        return print_json(found)
    for name, value in found.items():
        for each in value if isinstance(value, list) else [value]:
            text = ", ".join(f"{k} {v}" for k, v in each.items()) if isinstance(each, dict) else each
            print(f"{name:14}{text}")
    return 0


def _restart_camera(args: argparse.Namespace, client: Client) -> int:
    return _told(client.command(args.device, "restart-camera", {"camera": args.camera}, 30.0), args)


def _reboot(args: argparse.Namespace, client: Client) -> int:
    return _told(client.command(args.device, "reboot", {}, 30.0), args)


def _retire(args: argparse.Namespace, client: Client) -> int:
    client.retire_device(args.device)
    print(f"{args.device}: retired; its history stays, its name may be enrolled again")
    return 0


def _wipe(args: argparse.Namespace, client: Client) -> int:
    confirm = args.confirm
    if confirm is None and sys.stdin.isatty():
        confirm = input(f"everything on {args.device} will be removed; type its name to go on: ")
    if not confirm:
        from fleet.errors import Refused
        from wire.reasons import Reason

        raise Refused(
            Reason.INVALID_FIELD,
            f"nothing was done: everything on {args.device} would be removed; say so with --confirm {args.device}",
        )
    answer = client.wipe_device(args.device, confirm, args.timeout_s)
    if answer.get("ok"):
        print(f"{args.device}: wiped and retired")
    return _told(answer, args)
