"""Whether a release of the agent fits this device: Python, platform, glibc, what it takes from the installation, its age. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wire.problem import Problem
from wire.reasons import Reason
from wire.release import ReleaseCard


@dataclass(frozen=True)
class Machine:
    """This device. `base`: name → version of the distributions that were installed with the system; `running`: the agent's version."""

    python: str
    platform: str
    glibc: str
    running: str
    base: Mapping[str, str] = field(default_factory=dict)


def unfit(card: ReleaseCard, machine: Machine, *, allow_downgrade: bool) -> list[Problem]:
    """Everything that speaks against it."""
    return list(_problems(card, machine, allow_downgrade))


def _problems(card: ReleaseCard, machine: Machine, allow_downgrade: bool) -> Iterator[Problem]:
    for asked, has in (
        (f"Python {card.python}", f"Python {machine.python}"),
        (card.platform, machine.platform),
    ):
        if asked != has:
            yield _problem(f"the release is for {asked}, this is {has}")
    if card.glibc and _numbers(machine.glibc) < _numbers(card.glibc):
        yield _problem(f"the release needs glibc {card.glibc}, this is {machine.glibc or 'none'}")
    for name, version in sorted(card.base.items()):
        if machine.base.get(name) != version:
            has = machine.base.get(name, "nothing")
            yield _problem(f"the release takes {name} {version} from the installation, which has {has}")
    if not allow_downgrade and is_older(card.version, machine.running):
        yield Problem(
            "agent",
            Reason.RELEASE_OLDER,
            f"release {card.version} is older than {machine.running}, which runs",
            remedy="say allow_downgrade where that is meant",
        )


def is_older(version: str, than: str) -> bool:
    """By PEP 440; what is no such version is not older."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _problem(message: str) -> Problem:
    return Problem("agent", Reason.RELEASE_UNFIT, message)
