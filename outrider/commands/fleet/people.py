"""`outrider fleet user …` and `whoami`: people and what they may do."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet.client import Client

ROLE = "viewer, operator, approver or admin; `operator:site=a` is on the devices of a selector"


def configure(commands: Commands) -> None:
    """Add `user` and `whoami`."""
    remote(commands, "whoami", "who these commands are, and what they may do", _whoami)
    user = group(commands, "user", "people and what they may do")
    remote(user, "list", "everybody", _list)
    remote(user, "show", "one user", _show).add_argument("name")
    create = remote(user, "create", "a new user; the password is asked for, or read from a pipe", _create)
    create.add_argument("name")
    create.add_argument("--full-name", default="")
    create.add_argument("--role", action="append", default=[], metavar="ROLE[:SELECTOR]", help=ROLE)
    create.add_argument("--no-password", action="store_true", help="the identity provider signs the user in")
    change = remote(user, "change", "other roles, another password, disabled or not", _change)
    change.add_argument("name")
    change.add_argument("--full-name")
    change.add_argument("--role", action="append", metavar="ROLE[:SELECTOR]", help=f"all roles anew: {ROLE}")
    change.add_argument("--password", action="store_true", help="ask for another one, or read it from a pipe")
    state = change.add_mutually_exclusive_group()
    state.add_argument("--disable", action="store_true", help="end the sessions and let nobody in")
    state.add_argument("--enable", action="store_true")
    remote(user, "remove", "with sessions and tokens", _remove).add_argument("name")


def _whoami(args: argparse.Namespace, client: Client) -> int:
    session = client.session()
    if args.json:
        return print_json(session)
    print(f"{session['kind']} {session['name']}: {_roles(session['bindings']) or 'nothing'}")
    return 0


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = client.users()
    columns = {
        "name": "NAME", "full_name": "FULL NAME", "roles": "ROLES", "state": "STATE", "last_sign_in_at": "LAST SIGN-IN",
    }  # fmt: skip
    return show(args, rows, [_row(row) for row in rows], columns)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    state = "disabled" if row["disabled"] else "provider" if row["provider"] else "active"
    return {**dated(row, "last_sign_in_at"), "roles": _roles(row["bindings"]), "state": state}


def _roles(bindings: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{b['role']}:{b['selector']}" if b["selector"] else b["role"] for b in bindings)


def _show(args: argparse.Namespace, client: Client) -> int:
    return print_json(client.user(args.name)[0])


def _create(args: argparse.Namespace, client: Client) -> int:
    wanted: dict[str, Any] = {"full_name": args.full_name, "bindings": [_binding(text) for text in args.role]}
    if not args.no_password:
        wanted["password"] = _password(args.name)
    return _told(args, client.create_user(args.name, **wanted))


def _change(args: argparse.Namespace, client: Client) -> int:
    _, tag = client.user(args.name)
    change: dict[str, Any] = {}
    if args.full_name is not None:
        change["full_name"] = args.full_name
    if args.role is not None:
        change["bindings"] = [_binding(text) for text in args.role]
    if args.disable or args.enable:
        change["disabled"] = bool(args.disable)
    if args.password:
        change["password"] = _password(args.name)
    return _told(args, client.change_user(args.name, tag, **change))


def _remove(args: argparse.Namespace, client: Client) -> int:
    client.remove_user(args.name)
    print(f"{args.name}: removed")
    return 0


def _told(args: argparse.Namespace, user: Mapping[str, Any]) -> int:
    if args.json:
        return print_json(user)
    state = "disabled" if user["disabled"] else "active"
    print(f"{user['name']}: {state}, {_roles(user['bindings']) or 'no role'}")
    return 0


def _binding(text: str) -> dict[str, str]:
    role, _, selector = text.partition(":")
    return {"role": role, "selector": selector}


def _password(name: str) -> str:
    from fleet.errors import Refused
    from wire.reasons import Reason

    if not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\r\n")
    password = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("again: ") != password:
        raise Refused(Reason.INVALID_FIELD, "the two passwords differ")
    return password
