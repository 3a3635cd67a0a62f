"""The devices as somebody sees them: those that rights and a selector let through, a page at a time; and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from fleet import audit, etag
from fleet.access.grants import Role
from fleet.auth import Principal
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.selector import EVERYTHING, Selector, label_problems
from fleet.tables import Device
from wire.problem import nearest

SCAN_ROWS = 1000
"""Names and labels looked at in one query; labels are JSON, which the databases search each in its own way."""


SHOWN_NAMES = 20


@dataclass(frozen=True)
class Selection:
    """Devices that match a selector: how many, how many of them online, the first names."""

    devices: int
    online: int
    names: list[str]


@dataclass(frozen=True)
class Like:
    """What the database itself can look for: a part of the name, the presence."""

    name: str = ""
    presence: str = ""

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.name:
            found.append(Device.id.icontains(self.name, autoescape=True))
        if self.presence:
            found.append(Device.presence == self.presence)
        return found


ANY = Like()


class Roster:
    """Lists devices and changes labels."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def page(
        self, who: Principal, selector: Selector, after: str, limit: int, like: Like = ANY
    ) -> list[Device]:
        """By name, beginning after one; only what may be seen."""
        with self._database.read() as session:
            names = []
            for name, labels in _labelled(session, after, like):
                if who.rights.on(labels) is not None and selector.matches(labels):
                    names.append(name)
                if len(names) == limit:
                    break
            return list(session.scalars(select(Device).where(Device.id.in_(names)).order_by(Device.id)))

    def visible(self, who: Principal, selector: Selector = EVERYTHING) -> set[str]:
        """The names of all that may be seen and match."""
        with self._database.read() as session:
            return {
                name
                for name, labels in _labelled(session, "")
                if who.rights.on(labels) is not None and selector.matches(labels)
            }

    def selection(self, who: Principal, selector: Selector) -> Selection:
        """How many match, of those that may be seen."""
        names = sorted(self.visible(who, selector))
        with self._database.read() as session:
            online = set(session.scalars(select(Device.id).where(Device.presence == "online")))
        return Selection(len(names), len(online.intersection(names)), names[:SHOWN_NAMES])

    def matching(self, selector: Selector) -> set[str]:
        """The names of all that match, whoever may see them."""
        with self._database.read() as session:
            return {name for name, labels in _labelled(session, "") if selector.matches(labels)}

    def require(self, who: Principal, name: str, role: Role) -> None:
        """:raises NotFound: no such device, or one that may not be seen
        :raises NotAllowed: it may be seen, and the role does not hold for it
        """
        with self._database.read() as session:
            labels = session.scalar(select(Device.labels).where(Device.id == name))
        if labels is None or who.rights.on(labels) is None:
            raise NotFound("device", name, nearest(name, self.visible(who)))
        who.require_on(labels, role, name)

    def labels(self, name: str) -> dict[str, str]:
        """:raises NotFound: no such device"""
        with self._database.read() as session:
            return dict(_get(session, name).labels)

    def set_labels(
        self, who: Principal, name: str, labels: Mapping[str, str], if_match: str | None = None
    ) -> dict[str, str]:
        """Other labels instead. Who does it must be operator of the device before and afterwards.

        :raises Refused: with every label that cannot be one
        :raises NotAllowed: the device would come under the rights of others
        :raises Overtaken: the labels are not as they were read
        """
        if found := label_problems(labels):
            raise Refused(found[0].reason, "; ".join(map(str, found)), found)
        with self._database.write() as session:
            device = _get(session, name)
            etag.check(if_match, etag.etag_of(device.labels))
            for state in (device.labels, labels):
                who.require_on(state, Role.OPERATOR, f"{name} with the labels {dict(state)}")
            before, device.labels = device.labels, dict(labels)
            audit.record(
                session, self._clock.wall(), who.actor, "device.labels", name,
                before=before, after=device.labels, labels=device.labels,
            )  # fmt: skip
            return dict(labels)


def _labelled(session: Session, after: str, like: Like = ANY) -> Iterator[tuple[str, dict[str, str]]]:
    while True:
        query = select(Device.id, Device.labels).where(Device.id > after, *like.conditions())
        rows = session.execute(query.order_by(Device.id).limit(SCAN_ROWS)).all()
        yield from ((row.id, row.labels) for row in rows)
        if len(rows) < SCAN_ROWS:
            return
        after = rows[-1].id


def _get(session: Session, name: str) -> Device:
    device = session.get(Device, name)
    if device is None:
        raise NotFound("device", name)
    return device
