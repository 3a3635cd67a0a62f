"""`outrider fleet rollout …`: a change to many devices, in waves, with a live view."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet.client import Client

VERBS = {
    "pause": "tell nobody more; those who have been told go on",
    "resume": "go on, without the devices that have failed so far",
    "approve": "let the wave that waits for approval pass",
    "abort": "tell nobody more, ever; what has been taken stays",
    "roll-back": "have everybody who was told go back to what they had",
}
REFRESH_S = 1.0
BAR = 40
MARKS = {"done": "#", "returned": "<", "told": "=", "returning": "-", "failed": "!"}
LASTS = frozenset({"DONE", "ABORTED", "ROLLED_BACK"})
STOPS = LASTS | {"PAUSED", "AWAITING_APPROVAL"}


def configure(commands: Commands) -> None:
    """Add `rollout`."""
    rollout = group(commands, "rollout", "changes to many devices, in waves, judged on the way")
    create = remote(rollout, "create", "begin a rollout", _create)
    create.add_argument("name")
    create.add_argument(
        "--selector", default="", help="which devices, e.g. 'site=a, line in (1, 2)'; all of them without"
    )
    create.add_argument(
        "--model", action="append", default=[], metavar="NAME=REFERENCE", help="e.g. people=yolox@3"
    )
    create.add_argument("--workflow", action="append", default=[], metavar="NAME=REFERENCE")
    create.add_argument("--release", metavar="REFERENCE", help="the agent itself, e.g. agent@2")
    create.add_argument("--change", type=Path, help="a JSON file: a merge patch of the desired state")
    create.add_argument(
        "--plan", type=Path, help="a JSON file with the whole plan; what is said here comes on top"
    )
    create.add_argument("--waves", help="e.g. 1,10%%,50%%,100%% (devices, or shares of them)")
    create.add_argument("--soak", type=float, metavar="SECONDS", help="after each wave")
    create.add_argument(
        "--first", action="append", default=[], metavar="DEVICE", help="a canary; may be repeated"
    )
    create.add_argument("--roll-back-on-failure", action="store_true", help="instead of pausing")
    create.add_argument("--dynamic", action="store_true", help="take in devices that come to match later")
    create.add_argument("--watch", action="store_true", help="and watch it")
    remote(rollout, "list", "rollouts, the newest first", _list)
    for verb, words in {"show": "one rollout with its history", "watch": "follow one until it ends"}.items():
        action = {"show": _show, "watch": _watch}[verb]
        remote(rollout, verb, words, action).add_argument("name")
    devices = remote(rollout, "devices", "its devices, each with how far it has come", _devices)
    devices.add_argument("name")
    devices.add_argument("--status", help="only those, e.g. failed")
    for verb, words in VERBS.items():
        remote(rollout, verb, words, _order).add_argument("name")
    retry = remote(rollout, "retry", "tell failed devices once more", _retry)
    retry.add_argument("name")
    retry.add_argument("device", nargs="*", help="all that have failed, where none is named")
    remote(rollout, "remove", "forget a rollout that has ended", _remove).add_argument("name")


def plan_of(args: argparse.Namespace) -> dict[str, Any]:
    """The plan that the arguments describe.

    :raises Refused: a file cannot be read, or nothing is to change
    """
    from outrider.commands.fleet.output import pair

    plan: dict[str, Any] = _file(args.plan) if args.plan else {}
    change = {**plan.get("change", {}), **(_file(args.change) if args.change else {})}
    for section, given in (("models", args.model), ("workflows", args.workflow)):
        if given:
            change[section] = {**change.get(section, {}), **dict(map(pair, given))}
    if args.release:
        change["agent"] = {"release": args.release}
    plan |= {"name": args.name, "change": change}
    for field, value in (("selector", args.selector), ("first", args.first), ("dynamic", args.dynamic)):
        if value:
            plan[field] = value
    if args.waves:
        plan["waves"] = [_wave(text.strip()) for text in args.waves.split(",")]
    if args.soak is not None:
        for wave in plan.setdefault("waves", _default_waves()):
            wave.setdefault("gates", {})["soak_s"] = args.soak
    if args.roll_back_on_failure:
        plan["on_failure"] = "roll-back"
    return plan


def _wave(text: str) -> dict[str, Any]:
    from fleet.errors import Refused
    from wire.reasons import Reason

    share = text.endswith("%")
    try:
        return {"percent": float(text[:-1])} if share else {"devices": int(text)}
    except ValueError:
        raise Refused(
            Reason.ROLLOUT_INVALID, f"wave {text!r} is neither a number nor a share such as 10%"
        ) from None


def _default_waves() -> list[dict[str, Any]]:
    from fleet.rollout.plan import CANARY

    return [wave.to_json() for wave in CANARY]


def _file(path: Path) -> dict[str, Any]:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise Refused(Reason.ROLLOUT_INVALID, f"{path} cannot be read as JSON: {e}") from e
    if not isinstance(found, dict):
        raise Refused(Reason.ROLLOUT_INVALID, f"{path} holds no JSON object")
    return found


def _create(args: argparse.Namespace, client: Client) -> int:
    made = client.rollouts.create(plan_of(args))
    if args.json and not args.watch:
        return print_json(made)
    print(f"{made['name']}: {sum(made['devices'].values())} devices, {made['waves']} waves")
    return _watch(args, client) if args.watch else 0


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = client.rollouts.all()
    columns = {
        "name": "ROLLOUT",
        "phase": "PHASE",
        "wave": "WAVE",
        "count": "DEVICES",
        "since": "SINCE",
        "judged": "WHY",
    }
    shown = [
        {**dated(row, "since"), "wave": f"{row['wave']}/{row['waves']}", "count": _counts(row["devices"])}
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _show(args: argparse.Namespace, client: Client) -> int:
    found, history = client.rollouts.get(args.name), client.rollouts.history(args.name)
    if args.json:
        return print_json({**found, "history": history})
    print(line(found))
    print(f"change: {json.dumps(found['plan']['change'])}")
    for note in history:
        print(f"  {dated(note, 'at')['at']}  {note['actor']:20} {note['words']}")
    return 0


def _devices(args: argparse.Namespace, client: Client) -> int:
    rows = [row for row in client.rollouts.devices(args.name) if args.status in (None, row["status"])]
    columns = {
        "device": "DEVICE",
        "status": "STATUS",
        "since": "SINCE",
        "attempts": "TRIES",
        "reason": "REASON",
        "message": "MESSAGE",
    }
    return show(args, rows, [dated(row, "since") for row in rows], columns)


def _watch(args: argparse.Namespace, client: Client) -> int:
    """A line that changes in place on a terminal, a line for each change elsewhere; 1 where it did not end well."""
    live, last = sys.stdout.isatty() and not args.json, ""
    while True:
        found = client.rollouts.get(args.name)
        text = json.dumps(found) if args.json else line(found)
        if text != last:
            print(f"\r\x1b[K{text}" if live else text, end="" if live else "\n", flush=True)
            last = text
        if found["phase"] in STOPS:
            if live:
                print()
            return int(found["phase"] != "DONE")
        time.sleep(REFRESH_S)


def line(found: Any) -> str:
    """One rollout in one line, with a bar of its devices."""
    devices = found["devices"]
    total = max(sum(devices.values()), 1)
    bar = "".join(mark * round(BAR * devices.get(status, 0) / total) for status, mark in MARKS.items())[:BAR]
    why = f"  {found['judged']}" if found["judged"] else ""
    return f"{found['name']} {found['phase']} wave {found['wave']}/{found['waves']} [{bar:{BAR}}] {_counts(devices)}{why}"


def _counts(devices: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(devices.items())) or "no devices"


def _order(args: argparse.Namespace, client: Client) -> int:
    return _told(args, client.rollouts.order(args.name, args.rollout_command))


def _retry(args: argparse.Namespace, client: Client) -> int:
    return _told(args, client.rollouts.retry(args.name, args.device))


def _told(args: argparse.Namespace, found: Any) -> int:
    if args.json:
        return print_json(found)
    print(line(found))
    return 0


def _remove(args: argparse.Namespace, client: Client) -> int:
    client.rollouts.remove(args.name)
    print(f"{args.name} is forgotten")
    return 0
