"""Secrets of devices, as sealed texts that nothing here can open. The client that sets one has sealed it to the device's key."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet import audit
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.tables import Device, Secret
from wire.problem import nearest
from wire.reasons import Reason
from wire.sealed import MAX_CHARACTERS, PREFIX

MOST = 64
"""Secrets of one device; each desired state carries all of them."""
_SEALED = re.compile(rf"{re.escape(PREFIX)}[A-Za-z0-9_=-]{{100,{MAX_CHARACTERS}}}")


class Secrets:
    """Keeps, lists and forgets sealed secrets."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def set(self, device: str, name: str, sealed: str, actor: str) -> None:
        """:raises NotFound: no such device
        :raises Refused: not a sealed text, or too many of them
        """
        if _SEALED.fullmatch(sealed) is None:
            raise Refused(
                Reason.SECRET_UNREADABLE,
                "that is no sealed secret; seal it with `outrider fleet device secret set`, which sends no plain text",
            )
        at = self._clock.wall()
        with self._database.write() as session:
            _device(session, device)
            row = session.get(Secret, (device, name))
            if row is None:
                if len(of_device(session, device)) >= MOST:
                    raise Refused(Reason.TOO_LARGE, f"{device} has {MOST} secrets already; remove one")
                row = Secret(device=device, name=name)
                session.add(row)
            row.sealed, row.set_at, row.set_by = sealed, at, actor
            audit.record(session, at, actor, "secret.set", device, name=name)

    def remove(self, device: str, name: str, actor: str) -> None:
        """:raises NotFound: no such device or secret"""
        with self._database.write() as session:
            row = session.get(Secret, (device, name))
            if row is None:
                _device(session, device)
                raise NotFound("secret", name, nearest(name, of_device(session, device)))
            session.delete(row)
            audit.record(session, self._clock.wall(), actor, "secret.remove", device, name=name)

    def all(self, device: str) -> list[Secret]:
        """:raises NotFound: no such device"""
        with self._database.read() as session:
            _device(session, device)
            return list(session.scalars(select(Secret).where(Secret.device == device).order_by(Secret.name)))


def of_device(session: Session, device: str) -> dict[str, str]:
    """Name → sealed text."""
    return {row.name: row.sealed for row in session.scalars(select(Secret).where(Secret.device == device))}


def _device(session: Session, name: str) -> None:
    if session.get(Device, name) is None:
        raise NotFound("device", name, nearest(name, session.scalars(select(Device.id))))
