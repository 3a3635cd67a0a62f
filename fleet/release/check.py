"""`python -m fleet.release.check DIR`: judge one release and print one `wire.local.CheckResult` line. Reads only; nothing of it is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fleet.release import house, wheels
from fleet.release.wheels import Unfit, Wheel
from wire.doc import read
from wire.envelope import VERSION
from wire.errors import Refused
from wire.local import CheckResult, encode
from wire.problem import Problem
from wire.reasons import Reason
from wire.release import FILE, ReleaseCard

MAX_CARD_BYTES = 256 * 1024
NEEDED = ("agent/launcher.py", "agent/daemon.py", "outrider/cli.py", "runtime/lifeline.py")
"""Modules without which a device could not start it."""


def check(folder: Path) -> CheckResult:
    """The verdict on a directory; never raises for what is in it."""
    try:
        card = card_of(folder)
        found = [wheels.read(path) for path in sorted(folder.glob("*.whl"))]
        problems = list(_problems(folder, card, found))
        if not problems:
            unpacked = sum(wheels.verify(wheel.path) for wheel in found)
    except Unfit as e:
        problems = [Problem("", Reason.RELEASE_INVALID, str(e))]
    except Refused as e:
        problems = list(e.problems)
    if problems:
        listed = "; ".join(map(str, problems[:5]))
        told = [problem.to_json() for problem in problems[:50]]
        return CheckResult(False, Reason.RELEASE_INVALID.value, listed, told)
    facts = {**card.to_json(), "glibc": house.glibc_of(found, card)}
    return CheckResult(
        True,
        card={
            "name": _name(card),
            "release": read(ReleaseCard, facts).to_json(),
            "wheels": [f"{wheel.name}=={wheel.version}" for wheel in found],
            "unpacked_bytes": unpacked,
        },
    )


def card_of(folder: Path) -> ReleaseCard:
    """:raises Unfit, Refused: there is none, or it makes no sense"""
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise Unfit(f"{FILE} is larger than 256 KiB")
        return read(ReleaseCard, json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as e:
        if isinstance(e, Unfit):
            raise
        raise Unfit(f"{FILE} cannot be read ({e}); make the release by `outrider fleet release build`") from e


def _name(card: ReleaseCard) -> str:
    """By default a name for each Python and platform: `agent-cp311-linux-x86_64`."""
    return f"agent-cp{card.python.replace('.', '')}-{card.platform}"


def _problems(folder: Path, card: ReleaseCard, found: Sequence[Wheel]) -> Iterator[Problem]:
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.parent != folder or not (path.name == FILE or path.suffix == ".whl"):
            yield _problem(path.name, f"is neither {FILE} nor a wheel beside it")
    if card.wire > VERSION:
        yield _problem("wire", f"needs wire {card.wire}; this control plane speaks {VERSION}")
    names = [wheel.name for wheel in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _problem(name, "is there more than once")
    fit = house.tags_for(card)
    for wheel in found:
        if not wheel.tags & fit:
            yield _problem(wheel.path.name, f"does not run on Python {card.python} of {card.platform}")
        if wheel.name in card.base:
            yield _problem(wheel.name, "is in the release and is to be taken from the installation")
    program = next((wheel for wheel in found if wheel.name == house.PROGRAM), None)
    if program is None:
        yield _problem("", f"has no wheel of {house.PROGRAM}")
        return
    if str(program.version) != card.version:
        yield _problem("version", f"is {card.version}, and the wheel is {program.version}")
    for module in wheels.lacking(program.path, NEEDED):
        yield _problem(program.path.name, f"has no {module}")
    for what in house.missing(found, card):
        yield _problem("wheels", f"{what}, which is not in the release")


def _problem(path: str, message: str) -> Problem:
    return Problem(path, Reason.RELEASE_INVALID, message)


def main(arguments: Sequence[str]) -> int:
    sys.stdout.buffer.write(encode(check(Path(arguments[-1]))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
