"""`outrider fleet device …`: devices, their secrets, desired states and commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider import updatewords
from outrider.commands.fleet import events, upkeep
from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, pair, print_json, show, value
from wire.finding import FAULT, Finding

if TYPE_CHECKING:
    from fleet.client import Client


DOCTOR_S = 120.0


def configure(commands: Commands) -> None:
    """Add `device`."""
    device = group(commands, "device", "devices: what they are and what they should do")
    listing = remote(device, "list", "devices", _device_list)
    listing.add_argument(
        "--selector", default="", help="those whose labels match: site=a, line in (1, 2), !spare"
    )
    remote(device, "show", "one device", _device_show).add_argument("device")
    label = remote(device, "label", "show or change the labels of a device", _device_label)
    label.add_argument("device")
    label.add_argument("change", nargs="*", metavar="KEY=VALUE | KEY-", help="set a label, or remove it")
    revoke = remote(device, "revoke", "end the identity of a device that was lost or stolen", _device_revoke)
    revoke.add_argument("device")
    secret = group(device, "secret", "passwords that only the device can read")
    put = remote(secret, "set", "seal a secret to a device; its text comes from standard input", _secret_set)
    put.add_argument("device")
    put.add_argument("name", help="cameras name it: rtsp://admin:secret:NAME@10.0.0.7/main")
    remote(secret, "list", "names of secrets", _secret_list).add_argument("device")
    remove = remote(secret, "remove", "forget a secret", _secret_remove)
    remove.add_argument("device")
    remove.add_argument("name")
    desired = group(device, "desired", "the desired state of a device")
    remote(desired, "get", "the newest desired state", _desired_get).add_argument("device")
    put = remote(desired, "set", "make a new revision", _desired_set)
    put.add_argument("device")
    put.add_argument("file", help="a JSON document; - reads it from standard input")
    put.add_argument("--if-revision", type=int, help="only where this is still the newest revision")
    history = remote(desired, "history", "the newest revisions and who made them", _desired_history)
    history.add_argument("device")
    history.add_argument("--last", type=int, default=20)
    events.configure(device)
    upkeep.configure(device)
    command = remote(device, "command", "send a command and wait for the answer", _device_command)
    command.add_argument("device")
    command.add_argument("name")
    command.add_argument("argument", nargs="*", metavar="KEY=VALUE", help="VALUE is JSON or text")
    command.add_argument("--timeout", type=float, default=15.0, dest="timeout_s", help="seconds")
    doctor = remote(device, "doctor", "have a device look at everything it needs", _device_doctor)
    doctor.add_argument("device")


def _device_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.devices(args.selector)
    columns = {
        "id": "DEVICE",
        "presence": "PRESENCE",
        "revision": "REVISION",
        "phase": "PHASE",
        "reason": "REASON",
        "agent_version": "AGENT",
        "labels": "LABELS",
        "last_seen_at": "LAST SEEN",
    }
    return show(args, rows, [_listed(row) for row in rows], columns)


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    labels = ",".join(f"{key}={value}" for key, value in sorted(row["labels"].items()))
    return {**dated(row, "last_seen_at"), "labels": labels}


def _device_show(args: argparse.Namespace, client: Client) -> int:
    device = client.device(args.device)
    if args.json:
        return print_json(device)
    reported, health = device["reported"] or {}, device["health"] or {}
    seen = dated(device, "last_seen_at")["last_seen_at"]
    print(f"{device['id']}: {device['presence']}, last seen {seen}, agent {device['agent_version'] or '?'}")
    print(
        f"revision {reported.get('revision', 0)}, offered {reported.get('offered', 0)}, {reported.get('phase')}"
    )
    if reported.get("reason"):
        print(f"  {reported['reason']}: {reported.get('message')}")
    for words in updatewords.lines(reported):
        print(f"  {words}")
    for problem in reported.get("problems", []):
        print(f"  {problem.get('path')}: {problem.get('message')}")
    for kind in ("cameras", "models", "workflows", "pipelines"):
        for name, state in reported.get(kind, {}).items():
            why = (
                f" ({': '.join(filter(None, (state['reason'], state.get('message'))))})"
                if state.get("reason")
                else ""
            )
            print(f"  {kind[:-1]:9}{name:20} {state.get('state')}{why}")
    for name, camera in health.get("cameras", {}).items():
        blind = sum(camera.get("blind_s", {}).values())
        print(
            f"  {name}: {camera.get('fps', 0):.1f} fps, {camera.get('results')} results, blind {blind:.1f} s"
        )
    return 0


def _device_label(args: argparse.Namespace, client: Client) -> int:
    labels, tag = client.labels(args.device)
    for text in args.change:
        if text.endswith("-") and "=" not in text:
            labels.pop(text[:-1], None)
        else:
            labels |= dict([pair(text)])
    if args.change:
        labels = client.set_labels(args.device, labels, tag)
    if args.json:
        return print_json(labels)
    print("\n".join(f"{key}={value}" for key, value in sorted(labels.items())))
    return 0


def _device_revoke(args: argparse.Namespace, client: Client) -> int:
    client.revoke_device(args.device)
    print(
        f"{args.device}: revoked; enrol it again with `outrider fleet token create --device {args.device} --replace`"
    )
    return 0


def _secret_set(args: argparse.Namespace, client: Client) -> int:
    import getpass

    asked = sys.stdin.isatty()
    text = getpass.getpass(f"{args.name}: ") if asked else sys.stdin.read().rstrip("\r\n")
    client.set_secret(args.device, args.name, text)
    return 0


def _secret_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.secrets(args.device)
    columns = {"name": "NAME", "set_at": "SET", "set_by": "BY"}
    return show(args, rows, [dated(row, "set_at") for row in rows], columns)


def _secret_remove(args: argparse.Namespace, client: Client) -> int:
    client.remove_secret(args.device, args.name)
    return 0


def _desired_get(args: argparse.Namespace, client: Client) -> int:
    return print_json(client.desired(args.device))


def _desired_history(args: argparse.Namespace, client: Client) -> int:
    rows = client.revisions(args.device, args.last)
    columns = {"revision": "REVISION", "created_at": "WHEN", "created_by": "WHO", "models": "MODELS"}
    shown = [
        {
            **dated(row, "created_at"),
            "models": ", ".join(m.get("version", "") for m in row["document"]["models"].values()),
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _desired_set(args: argparse.Namespace, client: Client) -> int:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text()
        document = json.loads(text)
    except (OSError, ValueError) as e:
        raise Refused(Reason.MALFORMED, f"{args.file} is no readable JSON document: {e}") from e
    answer = client.set_desired(args.device, document, args.if_revision)
    if args.json:
        return print_json(answer)
    how = "published" if answer["published"] else "stored; it is published when the broker is back"
    print(f"{args.device}: revision {answer['revision']} {how}")
    return 0


def _device_doctor(args: argparse.Namespace, client: Client) -> int:
    """1 where something is at fault."""
    answer = client.command(args.device, "doctor", {}, DOCTOR_S)
    if not answer.get("ok"):
        print_json(answer)
        return 1
    found = [Finding(**row) for row in answer["result"]["findings"]]
    if args.json:
        print_json(answer["result"])
    else:
        print("\n".join(finding.line() for finding in found))
    return int(any(finding.state == FAULT for finding in found))


def _device_command(args: argparse.Namespace, client: Client) -> int:
    arguments = {name: value(text) for name, text in map(pair, args.argument)}
    answer = client.command(args.device, args.name, arguments, args.timeout_s)
    print_json(answer)
    return 0 if answer.get("ok") else 1
