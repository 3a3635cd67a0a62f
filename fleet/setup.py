"""A data directory made or brought up to date. May be run again: nothing that exists is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet import authority, tls
from fleet.access.grants import Grant, Role
from fleet.auth import Tokens
from fleet.clock import Clock, Ids
from fleet.config import Config, DataDir, load, save
from fleet.db import Database, migrate
from fleet.errors import Taken
from fleet.files import write_atomic
from fleet.signing import create_key, load_signer
from fleet.tuf.repository import counts
from fleet.tuf.trust import Trust
from wire.reasons import Reason


@dataclass(frozen=True)
class Made:
    """What `init` has made. `admin_token` is shown this one time; empty where the directory had one already."""

    config: Config
    admin_token: str


@dataclass(frozen=True)
class TrustKeys:
    """How many keys the roles of a new control plane get, and how many of them must sign."""

    root: tuple[int, int] = (1, 1)
    targets: tuple[int, int] = (1, 1)
    artifacts: tuple[int, int] = (1, 1)


def init(root: Path, config: Config, clock: Clock, ids: Ids, trust: TrustKeys = TrustKeys()) -> Made:
    """Make a control plane's data directory.

    :raises Taken: the directory holds other things
    :raises Misconfigured: its configuration cannot be read
    """
    data = DataDir(root)
    if data.root.is_dir() and any(data.root.iterdir()) and not data.config.exists():
        raise Taken(
            Reason.NAME_TAKEN, f"{data.root} is not empty and no control plane; choose another directory"
        )
    data.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (data.objects, data.uploads, data.broker, data.state_key.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if data.config.exists():
        config = load(data)
    else:
        save(data, config)
    create_key(data.state_key)
    authority.create(data.authority, data.root_key, config.fleet, clock)
    tls.refresh(data, config, authority.load(data.authority, clock), clock.wall())
    if not data.control_password.exists():
        write_atomic(data.control_password, ids.secret().encode(), 0o600)
    migrate(data.database_url(config))
    _trust(data, config, clock, trust)
    return Made(config, _admin_token(data, config, clock, ids))


def _trust(data: DataDir, config: Config, clock: Clock, wanted: TrustKeys) -> None:
    database = Database(data.database_url(config))
    try:
        signer = load_signer(data.state_key)
        trust = Trust(data, database, clock, config.trust_days, signer)
        trust.create(
            counts(wanted.root, wanted.targets, wanted.artifacts), next(iter(signer.public_keys.values()))
        )
    finally:
        database.close()


def _admin_token(data: DataDir, config: Config, clock: Clock, ids: Ids) -> str:
    if data.admin_token.exists():
        return ""
    database = Database(data.database_url(config))
    try:
        _, token = Tokens(database, clock, ids).create("admin", Grant(Role.ADMIN), "init")
    finally:
        database.close()
    write_atomic(data.admin_token, token.encode() + b"\n", 0o600)
    return token
