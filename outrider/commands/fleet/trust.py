"""`outrider fleet keys|sign|doctor`: whose word counts for artifacts, signing with keys that are offline, and what is to be put right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet import shapes
    from fleet.client import Client

ROLES = "root, targets, snapshot, timestamp, models, workflows, state"


def configure(commands: Commands) -> None:
    """Add `keys`, `sign` and `doctor`."""
    keys = group(commands, "keys", "whose signatures devices believe")
    remote(keys, "list", "roles, their keys, and which keys are on the control plane's machine", _list)
    rotate = remote(keys, "rotate", "give a role other keys; devices learn of it by themselves", _rotate)
    rotate.add_argument("role", help=ROLES)
    rotate.add_argument(
        "--public", type=Path, action="append", default=[], metavar="FILE",
        help="the public half of a key made with `keys make`; without it the control plane makes the keys",
    )  # fmt: skip
    rotate.add_argument("--threshold", type=int, help="how many of the keys must sign")
    rotate.add_argument(
        "--keep", action="store_true", help="the keys there are stay good beside the new ones"
    )
    revoke = remote(keys, "revoke", "take a key from every role it has", _revoke)
    revoke.add_argument("key", help="its id, or the beginning of it")
    make = keys.add_parser("make", help="make a key here, on a machine that is offline")
    make.add_argument("dir", type=Path, help="where to put it: a medium that is kept in a safe")
    make.add_argument("--role", default="key", help="for the file's name")
    make.set_defaults(action=_make)
    sign = group(
        commands, "sign", "sign with keys that are offline: export, add on the other machine, import"
    )
    export = remote(sign, "export", "write what waits for signatures to a file", _export)
    export.add_argument("file", type=Path)
    add = sign.add_parser("add", help="sign such a file; needs no network and no control plane")
    add.add_argument("file", type=Path)
    add.add_argument(
        "--key", type=Path, action="append", required=True, metavar="FILE", help="may be repeated"
    )
    add.add_argument("--yes", action="store_true", help="do not ask")
    add.set_defaults(action=_add)
    remote(sign, "import", "bring the signed file back", _import).add_argument("file", type=Path)
    remote(
        commands,
        "doctor",
        "what is wrong with keys and trust metadata; ends with 1 where something is",
        _doctor,
    )


def _list(args: argparse.Namespace, client: Client) -> int:
    roles = client.trust()["roles"]
    rows = [
        {
            **dated(role, "expires_at"),
            "id": key["id"][:12],
            "where": "here" if key["online"] else "away",
            "needed": f"{role['threshold']} of {len(role['keys'])}",
        }
        for role in roles
        for key in role["keys"]
    ]
    columns = {
        "role": "ROLE",
        "id": "KEY",
        "where": "WHERE",
        "needed": "MUST SIGN",
        "version": "VERSION",
        "expires_at": "UNTIL",
    }
    return show(args, roles, rows, columns)


def _rotate(args: argparse.Namespace, client: Client) -> int:
    public = [_text(path) for path in args.public]
    answer = client.rotate_keys(args.role, public, args.threshold, args.keep)
    return _told(args, answer, f"{args.role}: new keys are in force")


def _revoke(args: argparse.Namespace, client: Client) -> int:
    answer = client.revoke_key(args.key)
    return _told(args, answer, f"revoked for {', '.join(answer['roles'])}")


def _told(args: argparse.Namespace, answer: shapes.TrustWaiting, done: str) -> int:
    if args.json:
        return print_json(answer)
    print(f"waits for signatures: {_waiting(answer)}" if answer["waiting"] else done)
    return 0


def _waiting(answer: shapes.TrustWaiting) -> str:
    return f"{', '.join(answer['waiting'])}\n  outrider fleet sign export FILE; outrider fleet sign add FILE --key …; outrider fleet sign import FILE"


def _make(args: argparse.Namespace) -> int:
    from fleet.errors import Refused
    from fleet.files import write_atomic
    from fleet.tuf.keys import make_key, public_pem
    from wire.reasons import Reason

    try:
        args.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = set(args.dir.iterdir())
        made = make_key(args.dir, args.role)
        (private,) = set(args.dir.iterdir()) - before
        public = private.with_suffix(".pub")
        write_atomic(public, public_pem(private).encode())
    except OSError as e:
        raise Refused(Reason.INVALID_FIELD, f"{args.dir} cannot be written: {e}") from e
    print(
        f"key {made.keyid[:12]}\n  private, keep it in a safe: {private}\n  public, for `keys rotate --public`: {public}"
    )
    return 0


def _export(args: argparse.Namespace, client: Client) -> int:
    document = client.trust_pending()
    _write(args.file, document)
    waiting = sorted(document["waiting"])
    print(f"{args.file}: {', '.join(waiting)}" if waiting else "nothing waits for signatures")
    return 0


def _add(args: argparse.Namespace) -> int:
    from fleet.tuf.keys import load_key
    from fleet.tuf.offline import Papers

    papers = Papers(_json(args.file))
    signers = [load_key(path) for path in args.key]
    print("\n".join(papers.lines(signers)) or "nothing waits for signatures")
    if not args.yes and input("sign this? [y/N] ").strip().lower() not in ("y", "yes"):
        print("nothing was signed")
        return 1
    missing = papers.sign(signers)
    _write(args.file, papers.document())
    for role, count in sorted(missing.items()):
        print(f"{role}: " + (f"{count} more signature(s) needed" if count else "signed by all that must"))
    return 0


def _import(args: argparse.Namespace, client: Client) -> int:
    answer = client.trust_signed(_json(args.file))
    if args.json:
        return print_json(answer)
    print(f"in force: {', '.join(answer['in_force'])}")
    if answer["waiting"]:
        print(f"still waits: {_waiting(answer)}")
    return 0


def _doctor(args: argparse.Namespace, client: Client) -> int:
    warnings = client.trust()["warnings"]
    if args.json:
        print_json(warnings)
    else:
        for warning in warnings:
            print(f"{warning['what']}: {warning['message']}\n  {warning['remedy']}")
        if not warnings:
            print("keys and trust metadata are in order")
    return 1 if warnings else 0


def _text(path: Path) -> str:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise Refused(Reason.INVALID_FIELD, f"{path} cannot be read: {e}") from e


def _json(path: Path) -> Any:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as e:
        raise Refused(Reason.MALFORMED, f"{path} is no JSON document: {e}") from e


def _write(path: Path, document: Any) -> None:
    from fleet.errors import Refused
    from fleet.files import write_atomic
    from wire.reasons import Reason

    try:
        write_atomic(path, json.dumps(document, indent=1).encode())
    except OSError as e:
        raise Refused(Reason.INVALID_FIELD, f"{path} cannot be written: {e}") from e
