"""Which faults there are, by what devices show and what was there before. Pure.

Rules: a fault is told once it has been seen for the time its kind says, and never before; it is over once it has been away for the
time its kind says; what holds changes nothing; a consequence stands beneath a fault that is told, of a kind that explains it, of
something above it; and no fault beneath itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fleet.health.faults import BY_CODE, Kind, Scope

Kinds = Mapping[str, Kind]


@dataclass(frozen=True, order=True)
class Subject:
    """What a fault is about; of a network or an address of cameras, `part` is that."""

    scope: str
    site: str = ""
    device: str = ""
    part: str = ""

    def __str__(self) -> str:
        if self.scope == Scope.SITE.value:
            return f"site:{self.site}"
        return f"{self.scope}:{self.device}" + (f"/{self.part}" if self.part else "")


Key = tuple[str, Subject]


@dataclass(frozen=True)
class Seen:
    """A sign of a subject; without `on` it holds."""

    on: bool = True
    message: str = ""


@dataclass(frozen=True)
class Fault:
    """A fault, from the moment it was first seen. Times are wall-clock seconds. `parent`: of which it is a consequence; `root_at`: since
    when it stands for itself."""

    opened_at: float
    message: str = ""
    visible_at: float | None = None
    clearing_at: float | None = None
    cleared_at: float | None = None
    parent: Key | None = None
    root_at: float | None = None
    returns: int = 0


Faults = Mapping[Key, Fault]
Above = Callable[[Subject], tuple[Subject, ...]]
"""What a subject is part of, the nearest first."""


def decide(
    before: Faults, seen: Mapping[Key, Seen], above: Above, at: float, kinds: Kinds = BY_CODE
) -> dict[Key, Fault]:
    """The faults as they are now; those that have ended are among them once, with `cleared_at`."""
    now: dict[Key, Fault] = {}
    for key in before.keys() | seen.keys():
        kind = kinds.get(key[0])
        fault = before.get(key)
        if fault is not None and fault.cleared_at is not None:
            fault = None
        if kind is not None:
            fault = _moved(fault, seen.get(key), kind, at)
        elif fault is not None:  # no such kind any more
            fault = replace(fault, cleared_at=at) if fault.visible_at is not None else None
        if fault is not None:
            now[key] = fault
    return {key: _placed(key, fault, now, above, at, kinds) for key, fault in now.items()}


def _moved(fault: Fault | None, seen: Seen | None, kind: Kind, at: float) -> Fault | None:
    if seen is None:
        return _away(fault, kind, at)
    if seen.on:
        return _shown(_there(fault, seen, at), kind, at)
    if fault is None or fault.clearing_at is not None:  # between the thresholds on the way down
        return _away(fault, kind, at)
    return _shown(fault, kind, at)


def _there(fault: Fault | None, seen: Seen, at: float) -> Fault:
    if fault is None:
        return Fault(at, seen.message)
    if fault.clearing_at is not None:
        return replace(fault, clearing_at=None, message=seen.message, returns=fault.returns + 1)
    return replace(fault, message=seen.message) if fault.message != seen.message else fault


def _shown(fault: Fault, kind: Kind, at: float) -> Fault:
    if fault.visible_at is None and at - fault.opened_at >= kind.visible_s:
        return replace(fault, visible_at=at)
    return fault


def _away(fault: Fault | None, kind: Kind, at: float) -> Fault | None:
    """Away: forgotten where nobody was told; else over after its time."""
    if fault is None or fault.visible_at is None:
        return None
    since = fault.clearing_at if fault.clearing_at is not None else at
    if at - since >= kind.clear_s:
        return replace(fault, clearing_at=since, cleared_at=at)
    return fault if fault.clearing_at is not None else replace(fault, clearing_at=at)


def _placed(key: Key, fault: Fault, now: Faults, above: Above, at: float, kinds: Kinds) -> Fault:
    """Beneath what explains it, or by itself."""
    if fault.cleared_at is not None:
        return fault
    parent = _parent(key, now, above, kinds)
    if parent is None:
        root_at = at if fault.parent is not None or fault.root_at is None else fault.root_at
    else:
        root_at = None
    if (parent, root_at) == (fault.parent, fault.root_at):
        return fault
    return replace(fault, parent=parent, root_at=root_at)


def _parent(key: Key, now: Faults, above: Above, kinds: Kinds) -> Key | None:
    code, subject = key
    explains = kinds[code].depends_on if code in kinds else ()
    if not explains:
        return None
    places = (subject, *above(subject))
    for place in places:
        for parent_code in explains:
            found = now.get((parent_code, place))
            if found is not None and found.visible_at is not None and found.cleared_at is None:
                return parent_code, place
    return None


def root_of(key: Key, faults: Faults) -> Key:
    """The fault that explains it in the end; itself where nothing does."""
    while (fault := faults.get(key)) is not None and fault.parent is not None and fault.parent in faults:
        key = fault.parent
    return key


def restless(faults: Faults) -> bool:
    """Whether time alone may change something: a fault not told yet, or one about to be over."""
    return any(fault.visible_at is None or fault.clearing_at is not None for fault in faults.values())
