"""`outrider fleet alert …`: what people are told of, by which rules, where, and when not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.faults import seconds
from outrider.commands.fleet.output import dated, pair, print_json, show, value

if TYPE_CHECKING:
    from fleet.client import Client

MATCHERS = ("code", "rule", "site", "device", "part")


def configure(commands: Commands) -> None:
    """Add `alert`."""
    alert = group(commands, "alert", "who is told of what is wrong")
    listing = remote(alert, "list", "alerts, the newest first", _list)
    listing.add_argument("--state", choices=("firing", "resolved", "all"), default="firing")
    for name in ("severity", "device", "site", "rule", "selector"):
        listing.add_argument(f"--{name}")
    remote(alert, "show", "one alert, and what was told of it", _show).add_argument("id")
    ack = remote(alert, "ack", "say that somebody cares: nobody is told of it again", _ack)
    ack.add_argument("id")
    ack.add_argument("--note", default="")
    ack.add_argument("--undo", action="store_true")
    _configure_silences(alert)
    _configure_written(alert, "rule", "rules: what is told, to whom", _rules, _set_rule, _remove_rule)
    target = _configure_written(alert, "target", "where alerts go", _targets, _set_target, _remove_target)
    remote(target, "test", "send a message now", _test).add_argument("name")
    queue = remote(alert, "deliveries", "messages to targets, the newest first", _deliveries)
    queue.add_argument("--target", default="")
    queue.add_argument("--state", choices=("waiting", "delivered", "failed"), default="")


def _configure_silences(alert: Commands) -> None:
    silence = group(alert, "silence", "tell nobody for a time")
    add = remote(silence, "add", "of some alerts; patterns with * and ?, all must fit", _silence)
    for name in MATCHERS:
        add.add_argument(f"--{name}")
    add.add_argument("--for", dest="length", default="2h", help="e.g. 90m, 6h, 7d")
    add.add_argument("--reason", required=True)
    listing = remote(silence, "list", "silences, the newest first", _silences)
    listing.add_argument("--over", action="store_true", help="those that are over, too")
    remote(silence, "end", "end one now", _end).add_argument("id")


def _configure_written(
    alert: Commands, noun: str, text: str, listed: Any, written: Any, removed: Any
) -> Commands:
    commands = group(alert, noun, text)
    remote(commands, "list", f"every {noun}", listed)
    setting = remote(commands, "set", f"write a {noun}; docs/alerts.md has the fields", written)
    setting.add_argument("name")
    setting.add_argument(
        "field", nargs="*", metavar="FIELD=VALUE", help="on top of the file's, values as JSON or text"
    )
    setting.add_argument("--file", type=Path, help="a JSON file")
    remote(commands, "remove", f"remove a {noun} that was written", removed).add_argument("name")
    return commands


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = client.alerts.all(
        args.state,
        severity=args.severity,
        device=args.device,
        site=args.site,
        rule=args.rule,
        selector=args.selector,
    )
    columns = {
        "id": "ID",
        "severity": "SEVERITY",
        "state": "STATE",
        "code": "WHAT",
        "subject": "OF",
        "fired_at": "SINCE",
        "acknowledged_by": "WHO CARES",
        "summary": "DETAIL",
    }
    shown = [
        {**dated(row, "fired_at"), "state": "silenced" if row["silenced"] else row["state"]} for row in rows
    ]
    return show(args, rows, shown, columns)


def _show(args: argparse.Namespace, client: Client) -> int:
    found = client.alerts.get(args.id)
    if args.json:
        return print_json(found)
    times = dated(found, "fired_at", "resolved_at", "acknowledged_at")
    print(
        f"{found['severity']}: {found['code']} of {found['subject']}, {found['state']} since {times['fired_at']}"
    )
    for words in (found["summary"], found["text"], found["remedy"]):
        if words:
            print(f"  {words}")
    if found["acknowledged_at"]:
        print(f"acknowledged by {found['acknowledged_by']} at {times['acknowledged_at']}: {found['note']}")
    for each in found["deliveries"]:
        told = dated(each, "created_at")
        print(f"  {told['created_at']}  {each['kind']:9} {each['target']}: {each['state']} {each['error']}")
    return 0


def _ack(args: argparse.Namespace, client: Client) -> int:
    found = (
        client.alerts.unacknowledge(args.id) if args.undo else client.alerts.acknowledge(args.id, args.note)
    )
    if args.json:
        return print_json(found)
    print(f"{found['code']} of {found['subject']}: " + (found["acknowledged_by"] or "nobody cares"))
    return 0


def _silence(args: argparse.Namespace, client: Client) -> int:
    matcher = {name: getattr(args, name) for name in MATCHERS if getattr(args, name)}
    made = client.alerts.silence(matcher, time.time() + seconds(args.length), args.reason)
    if args.json:
        return print_json(made)
    print(f"{made['id']}: until {dated(made, 'until_at')['until_at']}")
    return 0


def _silences(args: argparse.Namespace, client: Client) -> int:
    rows = client.alerts.silences(args.over)
    columns = {
        "id": "ID",
        "match": "WHICH",
        "from_at": "FROM",
        "until_at": "UNTIL",
        "created_by": "BY",
        "reason": "WHY",
    }
    shown = [
        {
            **dated(row, "from_at", "until_at"),
            "match": ", ".join(f"{name}={pattern}" for name, pattern in row["matcher"].items()),
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _end(args: argparse.Namespace, client: Client) -> int:
    client.alerts.end_silence(args.id)
    print(f"{args.id} is over")
    return 0


def _document(args: argparse.Namespace) -> dict[str, Any]:
    """:raises Refused: the file cannot be read, or a field is not FIELD=VALUE"""
    from fleet.errors import Refused
    from wire.reasons import Reason

    found: Any = {}
    if args.file is not None:
        try:
            found = json.loads(args.file.read_text())
        except (OSError, ValueError) as e:
            raise Refused(Reason.MALFORMED, f"{args.file} cannot be read as JSON: {e}") from e
        if not isinstance(found, dict):
            raise Refused(Reason.MALFORMED, f"{args.file} holds no JSON object")
    return {**found, **{name: value(text) for name, text in map(pair, args.field)}}


def _rules(args: argparse.Namespace, client: Client) -> int:
    rows = client.alerts.rules()
    columns = {
        "name": "RULE",
        "built_in": "BUILT IN",
        "about": "ABOUT",
        "for_s": "AFTER S",
        "repeat_s": "AGAIN S",
        "to": "TO",
    }
    shown = [
        {**row, **row["rule"], "about": _about(row["rule"]), "to": ", ".join(row["rule"]["targets"])}
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _about(rule: dict[str, Any]) -> str:
    if not rule["enabled"]:
        return "nothing: it is switched off"
    if limit := rule["limit"]:
        bound = f"> {limit['above']}" if limit["above"] is not None else f"< {limit['below']}"
        return f"{limit['figure']} {bound} over {limit['window_s'] // 60} min"
    return f"{', '.join(rule['codes'])}, {rule['min_severity']} or worse"


def _set_rule(args: argparse.Namespace, client: Client) -> int:
    made = client.alerts.set_rule(args.name, _document(args))
    return print_json(made) if args.json else _said(f"{made['name']}: {_about(made['rule'])}")


def _remove_rule(args: argparse.Namespace, client: Client) -> int:
    client.alerts.remove_rule(args.name)
    return _said(f"{args.name} is removed")


def _targets(args: argparse.Namespace, client: Client) -> int:
    rows = client.alerts.targets()
    columns = {
        "name": "TARGET",
        "kind": "KIND",
        "where": "WHERE",
        "waiting": "WAITING",
        "delivered_at": "LAST TAKEN",
        "last_error": "ERROR",
    }
    shown = [
        {**dated(row, "delivered_at"), "kind": row["target"]["kind"], "where": _where(row["target"])}
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _where(target: dict[str, Any]) -> str:
    if target["kind"] == "email":
        return ", ".join(target["to"])
    return str(target.get("url") or target.get("topic"))


def _set_target(args: argparse.Namespace, client: Client) -> int:
    made = client.alerts.set_target(args.name, _document(args))
    return (
        print_json(made)
        if args.json
        else _said(f"{made['name']}: {made['target']['kind']} to {_where(made['target'])}")
    )


def _remove_target(args: argparse.Namespace, client: Client) -> int:
    client.alerts.remove_target(args.name)
    return _said(f"{args.name} is removed")


def _test(args: argparse.Namespace, client: Client) -> int:
    trial = client.alerts.test(args.name)
    if args.json:
        print_json(trial)
    elif trial["ok"]:
        print(f"{args.name} has taken a message in {trial['took_s']:.1f} s")
    else:
        print(f"{args.name} has not taken it: {trial['error']}", file=sys.stderr)
    return 0 if trial["ok"] else 1


def _deliveries(args: argparse.Namespace, client: Client) -> int:
    rows = client.alerts.deliveries(args.target, args.state)
    columns = {
        "created_at": "WHEN",
        "target": "TARGET",
        "kind": "KIND",
        "state": "STATE",
        "attempts": "TRIES",
        "error": "ERROR",
    }
    return show(args, rows, [dated(row, "created_at") for row in rows], columns)


def _said(words: str) -> int:
    print(words)
    return 0
