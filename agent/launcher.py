"""Starts the agent of the current slot, and guards a change of it: `launcher run [ARGUMENTS]`, as `outrider agent run` takes them.

Standard library only, one file: it must work where a new release does not. A release on trial (`agent/pending`) is started twice
without a commit at most; the third start takes it back, together with the revision that brought it. It never fails: where it
cannot read or write, the agent is started all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

MAX_STARTS = 3
BASE_VARIABLE = "OUTRIDER_BASE_PYTHON"
SELF_VARIABLE = "OUTRIDER_LAUNCHER"
"""What the agent finds the installation by: the Python that was installed with the system, and this file."""


def guard(state_dir: Path) -> str:
    """Count this start; the slot to start, or empty for the agent installed with the system."""
    root = state_dir / "agent"
    pending = _read(root / "pending")
    if pending is not None:
        pending["starts"] = int(pending.get("starts", 0)) + 1
        if pending["starts"] >= MAX_STARTS:
            _go_back(state_dir, root, pending)
        else:
            _write(root / "pending", pending)
    return _slot(root)


def _go_back(state_dir: Path, root: Path, pending: dict[str, Any]) -> None:
    _say(
        f"the agent of revision {pending.get('revision')} did not come to a commit; the one before it is started"
    )
    _write(root / "went-back", pending)
    former = str(pending.get("former", ""))
    _link(root / "current", f"slots/{former}" if former in ("a", "b") else "")
    revision = int(pending.get("former_revision", 0))
    _link(state_dir / "current", f"revisions/{revision}.json" if revision else "")
    with contextlib.suppress(OSError):
        (root / "pending").unlink(missing_ok=True)
        _sync(root)


def _slot(root: Path) -> str:
    try:
        name = Path(os.readlink(root / "current")).name
    except OSError:
        return ""
    if name not in ("a", "b"):
        return ""
    if (gone := _not_whole(root / "slots" / name)) is None:
        return name
    _say(f"slot {name} is not whole, the installed agent is started: {gone} is not there")
    return ""


def _not_whole(slot: Path) -> str | None:
    """What is missing of a release, in its slot or of the installation that it was made on; None where nothing is."""
    if not (slot / "RELEASE").is_file():
        return str(slot / "RELEASE")
    try:
        base = (slot / "BASE").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line for line in base if not os.path.isdir(line)), None)


def main(arguments: list[str]) -> NoReturn:
    """Become the agent."""
    state_dir = state_directory(arguments, os.environ)
    slot = ""
    try:
        slot = guard(state_dir)
    except Exception as e:  # the boundary: the guard must not keep the agent from starting
        _say(f"the guard failed, the agent starts all the same: {type(e).__name__}: {e}")
    python = state_dir / "agent" / "slots" / slot / "bin" / "python"
    base = os.environ.get(BASE_VARIABLE) or sys.executable
    program = str(python) if slot and os.access(python, os.X_OK) else base
    os.environ.update({BASE_VARIABLE: base, SELF_VARIABLE: os.path.abspath(__file__)})
    os.execv(program, [program, "-m", "outrider", "agent", *arguments])


def again(arguments: list[str]) -> NoReturn:
    """Start anew by the launcher that was installed with the system, from within an agent of any release."""
    base, file = os.environ.get(BASE_VARIABLE, ""), os.environ.get(SELF_VARIABLE, "")
    if os.access(base, os.X_OK) and os.access(file, os.R_OK):
        os.execv(base, [base, "-I", file, *arguments])
    main(arguments)


def state_directory(arguments: list[str], environment: Mapping[str, str]) -> Path:
    """Where the agent keeps its state: as its arguments say, its environment, systemd's, or the default."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--state-dir":
            return Path(following)
        if argument.startswith("--state-dir="):
            return Path(argument.partition("=")[2])
    named = environment.get("OUTRIDER_STATE_DIR") or environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(named or "/var/lib/outrider")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, body: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(json.dumps(body).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync(path.parent)


def _link(link: Path, target: str) -> None:
    if not target:
        link.unlink(missing_ok=True)
    else:
        part = link.with_name(f".{link.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        os.symlink(target, part)
        os.replace(part, link)
    _sync(link.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    print(f"outrider launcher: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
