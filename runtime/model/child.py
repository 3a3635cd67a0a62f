"""Runs pack and check in a process of their own, so that a crash in native code becomes a sentence."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.model.pack import PackOptions
from runtime.model.precision.build import BuildOptions
from wire.errors import Malformed
from wire.local import CheckResult, decode
from wire.reasons import Reason

DEADLINE_S = 600.0
BUILD_DEADLINE_S = 4000.0
"""Calibration runs every picture without shortcuts, and a TensorRT engine takes up to an hour."""
_SHOWN_CHARS = 600


def check(package: Path, *, engine: str = "auto", deadline_s: float = DEADLINE_S) -> CheckResult:
    """The verdict on a package directory or archive."""
    return run(["runtime.model.check", str(package), "--engine", engine], deadline_s=deadline_s)


def pack(source: Path, out: Path, options: PackOptions, *, deadline_s: float = DEADLINE_S) -> CheckResult:
    """Make a package; the verdict's card describes it. Nothing half-written stays, whatever happens to the child."""
    return _make("runtime.model.pack", source, out, asdict(options), deadline_s)


def build(
    source: Path, out: Path, options: BuildOptions, *, deadline_s: float = BUILD_DEADLINE_S
) -> CheckResult:
    """Make a package of another precision; as `pack`."""
    return _make("runtime.model.precision.build", source, out, asdict(options), deadline_s)


def _make(module: str, source: Path, out: Path, options: dict[str, Any], deadline_s: float) -> CheckResult:
    request = json.dumps({"source": str(source), "out": str(out), "options": options})
    before = _partials(out)
    verdict = run([module, request], deadline_s=deadline_s)
    if not verdict.ok:
        for partial in _partials(out) - before:
            shutil.rmtree(partial, ignore_errors=True)
    return verdict


def _partials(out: Path) -> set[Path]:
    return set(out.parent.glob(f".{out.name}.partial-*")) if out.parent.is_dir() else set()


def run(module: list[str], *, deadline_s: float) -> CheckResult:
    """Run `python -m MODULE …` and read its one line; a process that ends without one gets a verdict that says how."""
    command = [sys.executable, "-m", *module]
    try:
        done = subprocess.run(command, capture_output=True, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired:
        return _failed(f"gave no verdict within {deadline_s:.0f} s and was ended")
    lines = done.stdout.splitlines()
    try:
        verdict = decode(lines[-1]) if lines else None
    except Malformed:
        verdict = None
    if isinstance(verdict, CheckResult):
        return verdict
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return _failed(f"{_ending(done.returncode)}: {' '.join(words[-1:])[:_SHOWN_CHARS]}")


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status} and no verdict"
    try:
        return f"crashed with {signal.Signals(-status).name}"
    except ValueError:
        return f"crashed with signal {-status}"


def _failed(words: str) -> CheckResult:
    message = f"the process that loaded the model {words}; try another export of the model, or another engine"
    return CheckResult(ok=False, reason=Reason.MODEL_LOAD_FAILED.value, message=message)
