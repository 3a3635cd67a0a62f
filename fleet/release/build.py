"""Makes a release: the agent's wheel with the wheels it needs, for one Python and platform, and `release.json` beside them.

pip finds and fetches what is needed, within constraints, from where it is set up to, or from a directory alone. Wheels that the
devices' installation has in the same version need not be in the release: they are named in `base` and taken from there.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from fleet.errors import Refused
from fleet.release import check, house, wheels
from fleet.release.wheels import Unfit, Wheel
from wire.doc import read
from wire.errors import Refused as WireRefused
from wire.reasons import Reason
from wire.release import FILE, ReleaseCard

FETCH_S = 3600.0
WORDS_CHARS = 1500
LEAST_GLIBC = 17
"""manylinux_2_17 and later are what wheels of today are built for."""


@dataclass(frozen=True)
class Wanted:
    """`wheel` is the agent's. `given` are wheels to take as they are. `base`: name → version in the devices' installation."""

    wheel: Path
    python: str
    platform: str
    glibc: str = "2.28"
    extras: tuple[str, ...] = ()
    given: tuple[Path, ...] = ()
    base: Mapping[str, str] = field(default_factory=dict)
    constraints: Path | None = None
    find_links: tuple[Path, ...] = ()
    offline: bool = False


def build(wanted: Wanted, target: Path) -> ReleaseCard:
    """Fill the new or empty directory `target`; what was made.

    :raises Refused: a wheel is none, something that is needed cannot be had, or the target cannot be written
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise Refused(Reason.RELEASE_INVALID, f"{target} is not empty; name a new directory")
        program = wheels.read(wanted.wheel)
        card = _card(wanted, program)
        for path in {wanted.wheel, *wanted.given}:
            shutil.copyfile(path, target / path.name)
        if house.missing(_held(target), card):
            _fetch(wanted, target)
            _leave_out(target, card.base)
        card = _used(card, _held(target))
        (target / FILE).write_text(json.dumps(card.to_json(), indent=1, sort_keys=True) + "\n")
        verdict = check.check(target)
    except Unfit as e:
        raise Refused(Reason.RELEASE_INVALID, str(e)) from e
    except OSError as e:
        raise Refused(Reason.DISK_FULL, f"{target} cannot be written: {e}") from e
    if not verdict.ok:
        raise Refused(Reason(verdict.reason), f"no whole release came of it: {verdict.message}")
    return read(ReleaseCard, verdict.card["release"])


def base_of(file: Path) -> dict[str, str]:
    """Name → version of a list of `NAME==VERSION`, as `pip freeze` writes it; other lines are passed over.

    :raises Refused: it cannot be read
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise Refused(Reason.RELEASE_INVALID, f"{file} cannot be read: {e}") from e
    pairs = (line.split(";")[0].strip().partition("==") for line in lines)
    return {canonicalize_name(name.strip()): version.strip() for name, equals, version in pairs if equals}


def _card(wanted: Wanted, program: Wheel) -> ReleaseCard:
    if program.name != house.PROGRAM:
        raise Refused(Reason.RELEASE_INVALID, f"{wanted.wheel.name} is no wheel of {house.PROGRAM}")
    body = {
        "version": str(program.version),
        "python": wanted.python,
        "platform": wanted.platform,
        "extras": wanted.extras,
        "base": {name: version for name, version in wanted.base.items() if name != house.PROGRAM},
    }
    try:
        return read(ReleaseCard, body)
    except WireRefused as e:
        raise Refused(Reason.RELEASE_INVALID, str(e), e.problems) from e


def _held(target: Path) -> list[Wheel]:
    return [wheels.read(path) for path in sorted(target.glob("*.whl"))]


def _fetch(wanted: Wanted, target: Path) -> None:
    """Everything that is needed, by pip, beside what is there.

    :raises Refused: it cannot be had
    """
    if importlib.util.find_spec("pip") is None:
        raise Refused(
            Reason.RELEASE_INVALID,
            "wheels are missing and this environment has no pip to fetch them; install pip, or give them with --add",
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        done = subprocess.run(
            _command(wanted, Path(folder)), capture_output=True, text=True, timeout=FETCH_S, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-WORDS_CHARS:]
            raise Refused(Reason.RELEASE_INVALID, f"pip cannot find everything: {said}")
        for path in Path(folder).glob("*.whl"):
            shutil.move(path, target / path.name)


def _command(wanted: Wanted, folder: Path) -> list[str]:
    extras = f"[{','.join(wanted.extras)}]" if wanted.extras else ""
    links = [*wanted.find_links, *({path.parent for path in wanted.given})]
    options = ["--constraint", str(wanted.constraints)] if wanted.constraints else []
    options += [part for link in links for part in ("--find-links", str(link))]
    options += ["--no-index"] if wanted.offline else []
    machine = wanted.platform.partition("-")[2]
    minor = int(wanted.glibc.partition(".")[2])
    names = [f"manylinux_2_{n}_{machine}" for n in range(minor, LEAST_GLIBC - 1, -1)]
    names += [f"manylinux2014_{machine}", f"linux_{machine}"]
    options += [part for name in names for part in ("--platform", name)]
    abi = f"cp{wanted.python.replace('.', '')}"
    options += ["--python-version", wanted.python, "--implementation", "cp"]
    options += ["--abi", abi, "--abi", "abi3", "--abi", "none", "--only-binary", ":all:"]
    program = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    return [*program, "--dest", str(folder), *options, f"{wanted.wheel.absolute()}{extras}"]


def _leave_out(target: Path, base: Mapping[str, str]) -> None:
    """What the installation has in the very same version."""
    for wheel in _held(target):
        if base.get(wheel.name) == str(wheel.version):
            wheel.path.unlink()


def _used(card: ReleaseCard, held: Sequence[Wheel]) -> ReleaseCard:
    """The card with only those of the installation that somebody asks for and the release has not itself."""
    own = {wheel.name for wheel in held}
    without = house.missing(held, card.model_copy(update={"base": {}}))
    asked = _names(without)
    kept = {name: version for name, version in card.base.items() if name in asked and name not in own}
    return card.model_copy(update={"base": kept})


def _names(missing: Iterable[str]) -> set[str]:
    """Of lines `WHO needs NAME…`."""
    from packaging.requirements import Requirement

    return {canonicalize_name(Requirement(line.partition(" needs ")[2]).name) for line in missing}
