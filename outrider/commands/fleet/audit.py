"""`outrider fleet audit …`: who did what; whether the log is whole; its end, to be kept elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet.chain import Head
    from fleet.client import Client


def configure(commands: Commands) -> None:
    """Add `audit`."""
    audit = group(commands, "audit", "who did what")
    listing = remote(audit, "list", "rows of the log, oldest first", _list)
    listing.add_argument("--actor", help="e.g. user:anna, token:ci, device:door-1")
    listing.add_argument("--action", dest="done", help="e.g. desired.set, or user.*")
    listing.add_argument("--subject")
    listing.add_argument("--last", type=int, default=50, help="so many of the newest; 0 is all")
    verify = remote(audit, "verify", "find any row that was changed, removed or reordered", _verify)
    verify.add_argument("--head", type=Path, help="a head that `export-head` has written before")
    export = remote(
        audit, "export-head", "the signed end of the log, to be kept where nobody of here can write", _export
    )
    export.add_argument("file", type=Path)


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = list(client.audit(actor=args.actor, action=args.done, subject=args.subject))
    rows = rows[-args.last :] if args.last else rows
    columns = {
        "seq": "ROW",
        "at": "WHEN",
        "actor": "WHO",
        "action": "WHAT",
        "subject": "ON",
        "detail": "DETAIL",
    }
    shown = [{**dated(row, "at"), "detail": json.dumps(row["detail"])} for row in rows]
    return show(args, rows, shown, columns)


def _verify(args: argparse.Namespace, client: Client) -> int:
    """Everything is computed here, from the rows as they are served: the server's word is not taken."""
    from fleet.chain import Head, breaks

    end = client.audit_head()
    kept = _read(args.head) if args.head else None
    rows = list(client.audit())
    found = breaks(rows, Head(end["count"], end["hash"]))
    if kept is not None:
        found += [problem for problem in breaks(rows, kept) if problem not in found]
    if args.json:
        print_json(
            {"ok": not found, "rows": len(rows), "hash": rows[-1]["hash"] if rows else "", "problems": found}
        )
    elif not found:
        print(f"{len(rows)} rows, none was changed, removed or reordered")
    for problem in found if not args.json else ():
        print(f"outrider fleet: {problem}", file=sys.stderr)
    return 1 if found else 0


def _export(args: argparse.Namespace, client: Client) -> int:
    head = client.audit_head()
    args.file.write_text(json.dumps(head, indent=2) + "\n")
    print(f"{args.file}: {head['count']} rows, {head['hash']}")
    return 0


def _read(path: Path) -> Head:
    from fleet.chain import Head
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        head: Any = json.loads(path.read_text())
        return Head(int(head["count"]), str(head["hash"]))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Refused(
            Reason.MALFORMED, f"{path} is no exported head ({e}); expected what `audit export-head` writes"
        ) from e
