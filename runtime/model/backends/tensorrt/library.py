"""Finds TensorRT at run time: JetPack or the vendor's index has put it there, or not. Its words go into our messages."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

from runtime.errors import ModelRefused
from wire.reasons import Reason

logger = logging.getLogger(__name__)

FULL = "tensorrt"
RTX = "tensorrt_rtx"
OLDEST = (10, 3)
"""What JetPack 6 has; its interface is what this code is written to."""
_KEPT = 20


def load(name: str) -> Any:
    """The module of this name.

    :raises ModelRefused: ENGINE_UNAVAILABLE: not there, not loadable, too old
    """
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as e:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"{name} cannot be imported: {e}; install TensorRT {OLDEST[0]}.{OLDEST[1]} or newer (JetPack has it; see docs/engines.md)",
        ) from e
    if not is_rtx(module) and version_of(module) < OLDEST:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"{name} {module.__version__} is older than {OLDEST[0]}.{OLDEST[1]}; update TensorRT, or JetPack",
        )
    return module


def version_of(module: Any) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in module.__version__.split(".")[:2])


def is_rtx(module: Any) -> bool:
    """TensorRT for RTX, which numbers its versions by itself and compiles on the GPU that runs."""
    return bool(module.__name__ == RTX)


def network_flags(module: Any) -> int:
    """Strongly typed: the engine computes in the types of the graph. From 11.0 it always does, and the flag is passed over."""
    typed = is_rtx(module) or version_of(module) >= (11, 0)
    return 0 if typed else 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def make_log(module: Any) -> Any:
    """A logger of TensorRT's kind; `errors` holds its newest complaints."""

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, words: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.errors = [*self.errors, words][-_KEPT:]
                logger.warning("TensorRT: %s", words)
            elif severity == module.ILogger.WARNING:
                logger.debug("TensorRT: %s", words)

    return Log()


def said(log: Any) -> str:
    """What TensorRT complained about, in one line."""
    return "; ".join(" ".join(words.split()) for words in log.errors[-3:]) or "it gave no reason"
