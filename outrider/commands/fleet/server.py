"""`outrider fleet init|serve`: a control plane made and run on this machine."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.commands.fleet import access
from outrider.commands.fleet.access import Commands

if TYPE_CHECKING:
    from fleet.setup import TrustKeys

STANDARD_NAMES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

TRUST_ROLES = {
    "root": "the root of trust gets",
    "targets": "vouch for the others",
    "artifact": "sign models, and workflows",
}


def configure(commands: Commands) -> None:
    """Add `init` and `serve`."""
    init = commands.add_parser("init", help="make a control plane's data directory")
    init.add_argument("dir", type=Path)
    init.add_argument("--fleet", default="default", help="the fleet's name, part of every topic")
    init.add_argument("--port", type=int, default=8080, help="where the API will listen")
    init.add_argument("--broker-port", type=int, help="8883, or 1883 with --no-tls")
    init.add_argument(
        "--name", action="append", default=[], help="a host name or address devices use; may be repeated"
    )
    init.add_argument(
        "--no-tls",
        action="store_true",
        help="passwords instead of certificates, and HTTP: for a trusted network",
    )
    init.add_argument(
        "--renew-authority",
        type=Path,
        metavar="ROOT_KEY",
        help="sign the issuing authority anew with the root's key",
    )
    init.add_argument("--host", default="127.0.0.1", help="the address to listen on, 0.0.0.0 for all")
    init.add_argument(
        "--migrate", action="store_true", help="bring an existing directory's database up to date"
    )
    init.add_argument(
        "--no-user-config", action="store_true", help="do not write ~/.config/outrider/fleet.toml"
    )
    for role, text in TRUST_ROLES.items():
        init.add_argument(f"--{role}-keys", type=int, default=1, metavar="N", help=f"how many keys {text}")
        init.add_argument(f"--{role}-threshold", type=int, metavar="M", help="how many of them must sign")
    init.set_defaults(action=_init)
    serve = commands.add_parser("serve", help="run a control plane with its broker")
    serve.add_argument("dir", type=Path)
    serve.add_argument("--host", help="the address the API listens on")
    serve.add_argument("--port", type=int, help="the API's port; 0 takes a free one")
    serve.add_argument("--broker-port", type=int, help="the broker's port; 0 takes a free one and keeps it")
    serve.add_argument("--verbose", action="store_true")
    serve.set_defaults(action=_serve)


def _init(args: argparse.Namespace) -> int:
    from fleet import authority
    from fleet.clock import RandomIds, SystemClock
    from fleet.config import Broker, Config, DataDir, Http
    from fleet.setup import init

    secure = not args.no_tls
    port = args.broker_port if args.broker_port is not None else 8883 if secure else 1883
    config = Config(
        fleet=args.fleet,
        http=Http(host=args.host, port=args.port, tls="own" if secure else "off", names=args.name),
        broker=Broker(host=args.host, port=port, tls=secure),
    )
    made = init(args.dir, config, SystemClock(), RandomIds(), _trust_keys(args))
    data = DataDir(args.dir)
    if args.renew_authority is not None:
        authority.renew(data.authority, args.renew_authority, made.config.fleet, SystemClock())
        print(f"{data.authority / 'issuing.pem'} is signed anew; restart the control plane")
    if not made.admin_token:
        print(f"{data.root} was there already; its database is up to date")
        return 0
    print(f"control plane of fleet {made.config.fleet} made in {data.root}")
    print(f"admin token, shown once and kept in {data.admin_token}: {made.admin_token}")
    if not args.no_user_config:
        print(f"this user's commands use it: {access.save(data, made.config.http, made.admin_token)}")
    print(f"back up {data.root / 'keys'}: devices trust nothing that other keys have signed")
    print(_OFFLINE.format(offline=data.offline, online=data.trust_keys))
    print(
        f"take offline: move {data.root_key} to a medium that is kept in a safe. Devices trust what it signs; it is needed\n"
        f"  only every five years: outrider fleet init {data.root} --renew-authority {data.root_key.name}"
    )
    return 0


_OFFLINE = """take offline: move {offline}/tuf-root-*.pem and {offline}/tuf-targets-*.pem to a medium in a safe, one person each where there
  are several. They are needed to change keys and once a year: `outrider fleet sign`. Everything goes on without them.
  For models and workflows that nobody who takes this machine over can forge, move {online}/tuf-models-*.pem and
  tuf-workflows-*.pem too: uploads then wait for `outrider fleet sign`. `outrider fleet doctor` says which keys are still here"""


def _trust_keys(args: argparse.Namespace) -> TrustKeys:
    from fleet.errors import Refused
    from fleet.setup import TrustKeys
    from wire.reasons import Reason

    found = []
    for role in TRUST_ROLES:
        count = getattr(args, f"{role}_keys")
        threshold = getattr(args, f"{role}_threshold") or count // 2 + 1
        if not 1 <= threshold <= count <= 16:
            raise Refused(
                Reason.INVALID_FIELD,
                f"--{role}-threshold {threshold} of --{role}-keys {count}: 1 to 16 keys, no more signatures than keys",
            )
        found.append((count, threshold))
    return TrustKeys(*found)


def _serve(args: argparse.Namespace) -> int:
    from fleet.server import configured, serve

    _log_to_stderr(logging.INFO if args.verbose else logging.WARNING)
    data, config = configured(args.dir, None, args.broker_port)
    port = config.http.port if args.port is None else args.port
    http = config.http.model_copy(update={"host": args.host or config.http.host, "port": port})
    asyncio.run(serve(data, config.model_copy(update={"http": http})))
    return 0


class _Line(logging.Formatter):
    """One event a line, its fields behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in STANDARD_NAMES}
        return super().format(record) + "".join(f" {name}={value}" for name, value in fields.items())


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
