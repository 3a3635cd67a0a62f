"""A device that has no identity yet: it waits for one, alive and saying so, and enrols itself where an order to lies ready.

An order is a TOML text: `url`, `token`, and at will `device`, `labels`, `public_authorities`, `allow_http`. It lies in the state
directory of an image (`enrol.toml`, removed once it has been used), or comes as systemd's credential `enrol-token`. Many devices are
made from one image: their token is good for as many, and `device` holds `{machine}`, `{serial}` or `{hostname}`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field

from agent import identity
from agent.backoff import Backoff
from agent.clock import Clock
from agent.config import Config, toml
from agent.enrol import enrol, through
from agent.errors import AgentError, ConfigRefused
from agent.identity import Identity
from agent.notify import Notifier
from wire.doc import Doc, read
from wire.errors import Refused
from wire.reasons import Reason

log = logging.getLogger(__name__)

ORDER_FILE = "enrol.toml"
CREDENTIAL = "enrol-token"
NO_CREDENTIAL = b"none"
"""What the unit gives where there is no such file: systemd takes no empty default."""
LOOK_S = 1.0
RETRY_MIN_S = 2.0
RETRY_MAX_S = 300.0
WAITING = "not enrolled; run `outrider agent enroll URL TOKEN`"
MACHINE_ID = Path("/etc/machine-id")
SERIALS = (Path("/proc/device-tree/serial-number"), Path("/sys/class/dmi/id/product_serial"))


class Order(Doc):
    """To enrol at `url` with `token`; `device` may hold `{machine}` (8 hex digits of this installation), `{serial}`, `{hostname}`."""

    url: str = Field(min_length=8, max_length=500)
    token: str = Field(min_length=8, max_length=200, repr=False)
    device: str = Field(default="", max_length=100)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    public_authorities: bool = False
    allow_http: bool = False


Enrol: TypeAlias = "Callable[[Order, str | None], Awaitable[Identity]]"
"""Enrols with an order under a name; raises AgentError and OSError."""


async def await_identity(
    config: Config,
    clock: Clock,
    environment: Mapping[str, str],
    notifier: Notifier,
    enrol_: Enrol | None = None,
) -> Identity:
    """The device's identity, as soon as there is one. Never gives up: a bad order is reported and waited over.

    :raises ConfigRefused: there is an identity, and it cannot be used
    """
    waits = Backoff(RETRY_MIN_S, RETRY_MAX_S, random.random)
    due_mono, status = clock.mono(), WAITING
    notifier.ready(status)
    log.warning(WAITING, extra={"state_dir": str(config.state_dir)})
    while (who := identity.load(config.state_dir)) is None:
        if clock.mono() >= due_mono:
            try:
                who = await _try(config, clock, environment, enrol_)
            except (AgentError, OSError) as e:
                due_mono = clock.mono() + waits.next_s()
                status = f"enrolment is tried again: {e}"
                log.warning(
                    "not enrolled yet", extra={"cause": str(e), "retry_s": round(due_mono - clock.mono(), 1)}
                )
            if who is not None:
                log.info("enrolled at first boot", extra={"device": who.device, "fleet": who.fleet})
                return who
        notifier.status(status)
        notifier.watchdog()
        await asyncio.sleep(LOOK_S)
    return who


async def _try(
    config: Config, clock: Clock, environment: Mapping[str, str], enrol_: Enrol | None
) -> Identity | None:
    """None where no order lies ready.

    :raises AgentError, OSError: it cannot be used now
    """
    order = find_order(config.state_dir, environment)
    if order is None:
        return None
    name = named(order.device, facts()) if order.device else None
    if enrol_ is not None:
        who = await enrol_(order, name)
    else:
        who = await enrol(
            order.url,
            order.token,
            config.state_dir,
            clock,
            device=name,
            labels=order.labels,
            public_authorities=order.public_authorities,
            allow_http=order.allow_http,
            ca_file=config.network.ca_file,
            connect=through(config.network.proxy),
        )
    (config.state_dir / ORDER_FILE).unlink(missing_ok=True)
    return who


def find_order(state_dir: Path, environment: Mapping[str, str]) -> Order | None:
    """The order that lies ready, the image's before the credential.

    :raises ConfigRefused: it makes no sense
    """
    places = [state_dir / ORDER_FILE]
    if folder := environment.get("CREDENTIALS_DIRECTORY"):
        places.append(Path(folder) / CREDENTIAL)
    for place in places:
        try:
            content = place.read_bytes()
        except FileNotFoundError:
            continue
        if content.strip() != NO_CREDENTIAL:
            return _read(content, place)
    return None


def _read(content: bytes, place: Path) -> Order:
    try:
        return read(Order, dict(toml.loads(content.decode())))
    except (UnicodeDecodeError, toml.TOMLDecodeError, Refused) as e:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f'{place} is no order to enrol ({e}); expected url = "…" and token = "…"'
        ) from e


def named(template: str, known: Mapping[str, str]) -> str:
    """The device's name.

    :raises ConfigRefused: the template asks for what this machine does not tell
    """
    try:
        name = template.format_map(dict(known))
    except (KeyError, IndexError, ValueError, AttributeError) as e:
        raise ConfigRefused(
            Reason.CONFIG_INVALID,
            f"device {template!r} cannot be filled in ({e}); this machine tells {', '.join(sorted(known))}",
        ) from e
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name.lower()).strip("-._")


def facts() -> dict[str, str]:
    """What tells this machine from others of the same image, as far as it says."""
    found: dict[str, Any] = {"hostname": socket.gethostname().partition(".")[0]}
    if machine := _text(MACHINE_ID):
        # The id itself is confidential, machine-id(5).
        found["machine"] = hashlib.sha256(f"outrider {machine}".encode()).hexdigest()[:8]
    serial = next((text for path in SERIALS if (text := _text(path))), "")
    if serial:
        found["serial"] = serial
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
