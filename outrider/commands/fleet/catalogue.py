"""`outrider fleet model|workflow show|alias|unalias|note|where`, `workflow diff`, `registry collect`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, pair, print_json, show

if TYPE_CHECKING:
    from fleet.client import Client
    from fleet.shapes import CollectionPlan, FieldChange, VersionView

VERSION = "NAME, NAME@VERSION or NAME@ALIAS; the newest without a version"


def configure(commands: Commands) -> None:
    """Add `registry`."""
    registry = group(commands, "registry", "the whole registry")
    collect = remote(
        registry,
        "collect",
        "remove versions that no device runs, is told to run or may go back to; shows them first",
        _collect,
    )
    collect.add_argument("--keep-newest", type=int, default=2, help="of each name, in any case")
    collect.add_argument("--older-than", type=float, default=30.0, metavar="DAYS", help="younger ones stay")
    collect.add_argument("--yes", action="store_true", help="carry it out")


def add(commands: Commands, kind: str) -> None:
    """Add what models and workflows have in common."""
    for name, text, action in (
        ("show", "a version with its card, or every version of a name", _show),
        ("where", "which devices run a version, are told to, or may go back to it", _where),
    ):
        parser = remote(commands, name, text, action)
        parser.add_argument("reference", metavar="NAME[@VERSION]", help=VERSION)
        parser.set_defaults(kind=kind)
    alias = remote(commands, "alias", "show aliases, or point one to a version: NAME production 3", _alias)
    alias.add_argument("name")
    alias.add_argument("alias", nargs="?")
    alias.add_argument("version", nargs="?", type=int)
    unalias = remote(commands, "unalias", "remove an alias", _unalias)
    unalias.add_argument("name")
    unalias.add_argument("alias")
    note = remote(commands, "note", "keep words and figures with a version", _note)
    note.add_argument("reference", metavar="NAME[@VERSION]", help=VERSION)
    note.add_argument("--text", default="")
    note.add_argument("--metric", action="append", default=[], metavar="NAME=FIGURE")
    for parser in (alias, unalias, note):
        parser.set_defaults(kind=kind)


def add_diff(commands: Commands) -> None:
    """Add `diff` to the commands of workflows."""
    parser = remote(commands, "diff", "steps added, removed and changed between two versions", _diff)
    parser.add_argument("name")
    parser.add_argument("before", help="version or alias")
    parser.add_argument("after", help="version or alias")


def _version(args: argparse.Namespace, client: Client) -> VersionView:
    name, _, reference = args.reference.partition("@")
    return client.version(args.kind, name, reference) if reference else client.versions(args.kind, name)[0]


def _show(args: argparse.Namespace, client: Client) -> int:
    if "@" in args.reference:
        return print_json(client.version(args.kind, *args.reference.split("@", 1)))
    rows = client.versions(args.kind, args.reference)
    columns = {
        "version": "VERSION", "aliases": "ALIASES", "digest": "DIGEST", "task": "TASK", "notes": "NOTES",
        "created_at": "WHEN", "created_by": "WHO",
    }  # fmt: skip
    shown = [
        {
            **dated(row, "created_at"),
            "aliases": ", ".join(row["aliases"]),
            "digest": row["digest"][:19],
            "task": row["card"].get("task"),
            "notes": _noted(row["notes"]),
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _noted(notes: Mapping[str, Any]) -> str:
    figures = [f"{name}={value:g}" for name, value in notes.get("metrics", {}).items()]
    return " ".join(filter(None, (*figures, notes.get("description", ""))))


def _where(args: argparse.Namespace, client: Client) -> int:
    version = _version(args, client)
    rows = client.users_of(args.kind, version["name"], str(version["version"]))
    columns = {"device": "DEVICE", "wanted": "TOLD TO", "running": "RUNS", "kept": "MAY GO BACK"}
    shown = [
        {"device": row["device"]} | {k: "yes" if row.get(k) else "" for k in ("wanted", "running", "kept")}
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _alias(args: argparse.Namespace, client: Client) -> int:
    if args.version is None:
        rows = [row for row in client.aliases(args.kind, args.name) if args.alias in (None, row["alias"])]
        columns = {"alias": "ALIAS", "version": "VERSION", "set_at": "SET", "set_by": "BY"}
        return show(args, rows, [dated(row, "set_at") for row in rows], columns)
    row = client.set_alias(args.kind, args.name, args.alias, args.version)
    if args.json:
        return print_json(row)
    print(f"{row['name']}@{row['alias']} is version {row['version']} now, {row['digest']}")
    return 0


def _unalias(args: argparse.Namespace, client: Client) -> int:
    client.remove_alias(args.kind, args.name, args.alias)
    print(f"{args.name}@{args.alias}: removed")
    return 0


def _note(args: argparse.Namespace, client: Client) -> int:
    from fleet.errors import Refused
    from wire.reasons import Reason

    version = _version(args, client)
    try:
        metrics = {name: float(figure) for name, figure in map(pair, args.metric)}
    except ValueError as e:
        raise Refused(Reason.INVALID_FIELD, f"a metric is NAME=FIGURE: {e}") from e
    return print_json(
        client.set_notes(args.kind, version["name"], str(version["version"]), args.text, metrics)["notes"]
    )


def _diff(args: argparse.Namespace, client: Client) -> int:
    found = client.workflow_diff(args.name, args.before, args.after)
    if args.json:
        return print_json(found)
    if found["same"]:
        print(f"{found['before']} and {found['after']}: no difference")
    for kind, parts in (("input", found["inputs"]), ("step", found["steps"]), ("output", found["outputs"])):
        for name in parts["removed"]:
            print(f"- {kind} {name}")
        for name in parts["added"]:
            print(f"+ {kind} {name}")
        for part in parts["changed"]:
            print(f"~ {kind} {part['name']}")
            for field in part["fields"]:
                print(f"    {field['path']}: {_side(field, 'before')} → {_side(field, 'after')}")
    return 0


def _side(field: FieldChange, side: str) -> str:
    fields: Mapping[str, Any] = field
    return json.dumps(fields[side]) if side in fields else "absent"


def _collect(args: argparse.Namespace, client: Client) -> int:
    plan = client.collect(args.keep_newest, args.older_than)
    if args.yes and (plan["versions"] or plan["objects"]):
        plan = client.collect(args.keep_newest, args.older_than, plan["plan"])
    return print_json(plan) if args.json else _plan(plan)


def _plan(plan: CollectionPlan) -> int:
    for row in plan["versions"]:
        print(f"{row['kind']} {row['name']}@{row['version']} {row['digest'][:19]}")
    how = "removed" if plan["done"] else "would go"
    print(
        f"{len(plan['versions'])} version(s) and {plan['objects']} object(s) of {plan['bytes'] / 1e6:.1f} MB {how}"
    )
    if not plan["done"] and plan["versions"]:
        print("nothing was removed; --yes does it")
    return 0
