"""Starts the process that builds an engine, listens to it, and ends it when its time is over."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from runtime.errors import ModelRefused
from runtime.model.backends.tensorrt import build
from wire.reasons import Reason

DEADLINE_S = 3600.0
"""A large model on a small Jetson takes half an hour at the lowest priority."""
_SHOWN_CHARS = 400


def run(
    order: build.Order, tell: Callable[[str], object], deadline_s: float = DEADLINE_S
) -> dict[str, object]:
    """Build in a child; what was made, for people. `tell` hears how far it is.

    :raises ModelRefused: the child refused, crashed, or took too long; the message holds its words
    """
    command = [sys.executable, "-m", build.__name__, order.to_json()]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    errors: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(child, errors), name="build-errors", daemon=True)
    reader.start()
    timer = threading.Timer(deadline_s, child.kill)
    timer.start()
    made: dict[str, object] | None = None
    try:
        for kind, value in build.lines(iter(child.stdout)):
            if kind == "progress":
                tell(f"building the engine: {value}")
            elif kind == "refused":
                raise ModelRefused(Reason(value[0]), str(value[1]))
            elif kind == "built":
                made = value
    finally:
        expired = not timer.is_alive() and child.poll() != 0
        timer.cancel()
        child.kill() if made is None else None
        status = child.wait()
        reader.join()
        child.stdout.close()
    if made is None:
        words = f"took longer than {deadline_s:.0f} s" if expired else _ending(status, errors)
        raise ModelRefused(Reason.ENGINE_BUILD_FAILED, f"the process that builds the engine {words}")
    return made


def _drain(child: subprocess.Popen[bytes], errors: list[bytes]) -> None:
    assert child.stderr is not None
    for line in child.stderr:
        errors[:] = [*errors, line][-5:]
    child.stderr.close()


def _ending(status: int, errors: list[bytes]) -> str:
    words = b"".join(errors).decode(errors="replace").strip()[-_SHOWN_CHARS:]
    how = f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return f"{how}: {words}"
