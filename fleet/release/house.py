"""What a set of wheels is good for: the platform they run on, and whether everything that the agent needs is among them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from fleet.release.wheels import Wheel
from wire.release import ReleaseCard

PROGRAM = "outrider"
MAX_GLIBC_MINOR = 60
OLDER_NAMES = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
"""Of PEP 513, 571 and 599, by the minor version of glibc 2."""
MANYLINUX = re.compile(r"^manylinux_2_(\d+)_")


def tags_for(card: ReleaseCard) -> frozenset[Tag]:
    """Every tag that runs on the Python and platform of a release, whatever its glibc."""
    machine = card.platform.partition("-")[2]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(MAX_GLIBC_MINOR, 4, -1)]
    platforms += [f"{name}_{machine}" for name in OLDER_NAMES] + [f"linux_{machine}"]
    python = _python(card)
    return frozenset(
        (
            *cpython_tags(python, platforms=platforms),
            *compatible_tags(python, interpreter=f"cp{python[0]}{python[1]}", platforms=platforms),
        )
    )


def glibc_of(wheels: Iterable[Wheel], card: ReleaseCard) -> str:
    """The least glibc that all of them run with; empty where none has anything compiled."""
    fit = tags_for(card)
    least = max((_glibc_minor(tag for tag in wheel.tags if tag in fit) for wheel in wheels), default=0)
    return f"2.{least}" if least else ""


def _glibc_minor(tags: Iterable[Tag]) -> int:
    """Of the most modest of a wheel's tags."""
    return min((_minor(tag.platform) for tag in tags), default=0)


def _minor(platform: str) -> int:
    if found := MANYLINUX.match(platform):
        return int(found[1])
    return next((minor for name, minor in OLDER_NAMES.items() if platform.startswith(f"{name}_")), 0)


def missing(wheels: Sequence[Wheel], card: ReleaseCard) -> list[str]:
    """What the agent and everything it needs asks for and neither the wheels nor the installation hold, each with who asks."""
    held = {wheel.name: wheel for wheel in wheels}
    base = {canonicalize_name(name): version for name, version in card.base.items()}
    found: list[str] = []
    waiting, seen = [(PROGRAM, frozenset(card.extras))], set[tuple[str, frozenset[str]]]()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen or name not in held:
            continue
        seen.add((name, wanted))
        for requirement in held[name].requires:
            if not _applies(requirement, card, wanted):
                continue
            needed = canonicalize_name(requirement.name)
            if not _holds(requirement, held.get(needed), base.get(needed)):
                found.append(f"{name} needs {_plain(requirement)}")
            waiting.append((needed, frozenset(requirement.extras)))
    return sorted(set(found))


def _holds(requirement: Requirement, wheel: Wheel | None, installed: str | None) -> bool:
    version: Version | str | None = wheel.version if wheel else installed
    if version is None:
        return False
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _applies(requirement: Requirement, card: ReleaseCard, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    facts = environment(card)
    return any(requirement.marker.evaluate({**facts, "extra": extra}) for extra in extras or {""})


def environment(card: ReleaseCard) -> Mapping[str, str]:
    """What markers are asked about on the device."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{card.python}.0",
        "os_name": "posix",
        "platform_machine": card.platform.partition("-")[2],
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{card.python}.0",
        "python_version": card.python,
        "sys_platform": "linux",
    }


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _python(card: ReleaseCard) -> tuple[int, int]:
    major, _, minor = card.python.partition(".")
    return int(major), int(minor)
