"""`outrider fleet token …`: tokens of devices, people and programs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, pair, show

if TYPE_CHECKING:
    from fleet.client import Client


def configure(commands: Commands) -> None:
    """Add `token`."""
    token = group(commands, "token", "tokens of devices, people and programs")
    create = remote(token, "create", "a one-time enrolment token; with --role, an API token", _token_create)
    create.add_argument("--device", help="bind the token to this name")
    create.add_argument(
        "--replace", action="store_true", help="let the enrolled device of that name be replaced"
    )
    create.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    create.add_argument("--hours", type=float, help="how long the token is good")
    create.add_argument("--role", choices=("viewer", "operator", "approver", "admin"))
    create.add_argument("--name", default="token", help="whose API token it is (with --role)")
    remote(token, "list", "enrolment tokens", _token_list)


def _token_create(args: argparse.Namespace, client: Client) -> int:
    if args.role:
        answer = client.create_api_token(args.name, args.role)
    else:
        labels = dict(pair(text) for text in args.label)
        answer = client.create_enrolment_token(
            device=args.device, replace=args.replace, labels=labels, lifetime_hours=args.hours
        )
    print(json.dumps(answer, indent=2) if args.json else answer["token"])
    return 0


def _token_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.enrolment_tokens()
    columns = {"id": "ID", "device": "DEVICE", "expires_at": "EXPIRES", "used_at": "USED", "used_by": "BY"}
    return show(args, rows, [dated(row, "expires_at", "used_at") for row in rows], columns)
