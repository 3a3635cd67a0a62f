"""`outrider fleet token …`: enrolment tokens of devices, API tokens of people and programs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, pair, show

if TYPE_CHECKING:
    from fleet.client import Client

ROLES = ("viewer", "operator", "approver", "admin")


def configure(commands: Commands) -> None:
    """Add `token`."""
    token = group(commands, "token", "tokens of devices, people and programs")
    create = remote(token, "create", "an enrolment token; with --role, an API token", _token_create)
    create.add_argument("--device", help="bind the token to this name")
    create.add_argument(
        "--replace", action="store_true", help="let the enrolled device of that name be replaced"
    )
    create.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    create.add_argument("--uses", type=int, default=1, help="how many devices it enrols")
    create.add_argument("--hours", type=float, help="how long the token is good")
    create.add_argument("--role", choices=ROLES)
    create.add_argument(
        "--selector", default="", help="the devices the role is for (with --role); all by default"
    )
    create.add_argument("--name", default="token", help="whose API token it is (with --role)")
    listing = remote(token, "list", "enrolment tokens; with --api, API tokens", _token_list)
    listing.add_argument("--api", action="store_true")
    revoke = remote(token, "revoke", "end a token before its time", _token_revoke)
    revoke.add_argument("id", help="as `list` shows it")


def _token_create(args: argparse.Namespace, client: Client) -> int:
    answer: Any
    if args.role:
        days = args.hours / 24 if args.hours else None
        answer = client.create_api_token(args.name, args.role, args.selector, days)
    else:
        labels = dict(pair(text) for text in args.label)
        answer = client.create_enrolment_token(
            device=args.device,
            replace=args.replace,
            labels=labels,
            lifetime_hours=args.hours,
            uses=args.uses,
        )
    print(json.dumps(answer, indent=2) if args.json else answer["token"])
    return 0


def _token_list(args: argparse.Namespace, client: Client) -> int:
    if args.api:
        return _api_token_list(args, client)
    rows = client.enrolment_tokens()
    columns = {
        "id": "ID", "device": "DEVICE", "labels": "LABELS", "uses": "USES", "expires_at": "EXPIRES",
        "revoked_at": "REVOKED", "used_at": "USED", "used_by": "BY",
    }  # fmt: skip
    shown = [
        {
            **dated(row, "expires_at", "used_at", "revoked_at"),
            "uses": f"{row['used']} of {row['uses']}",
            "labels": ",".join(f"{key}={value}" for key, value in row["labels"].items()),
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _api_token_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.api_tokens()
    columns = {
        "id": "ID", "name": "NAME", "owner": "OWNER", "role": "ROLE", "selector": "DEVICES", "expires_at": "EXPIRES",
        "revoked_at": "REVOKED", "last_used_at": "LAST USED",
    }  # fmt: skip
    shown = [dated(row, "expires_at", "revoked_at", "last_used_at") for row in rows]
    return show(args, rows, shown, columns)


def _token_revoke(args: argparse.Namespace, client: Client) -> int:
    from fleet.client import ApiError

    try:
        client.revoke_enrolment_token(args.id)
    except ApiError as e:
        if e.status != 404:
            raise
        client.revoke_token(args.id)
    print(f"{args.id}: revoked")
    return 0
