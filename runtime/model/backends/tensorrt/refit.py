"""Puts the weights of another version into a deserialised engine: seconds instead of the minutes of a build.

The engine must have been built refittable from a graph of the same structure. What comes out is not trusted before the golden
image has been compared: TensorRT 11.3 is known to drop the bias of a product on refitting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.model.backends.tensorrt import library


class RefitFailed(Exception):
    """The weights do not go in; the engine must be built."""


def refit(trt: Any, log: Any, engine: Any, graph: Path) -> None:
    """Change the engine in place; nobody may run it meanwhile.

    :raises RefitFailed: with TensorRT's words
    """
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(graph)):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise RefitFailed("; ".join(errors[:3]) or library.said(log))
    if missing := list(refitter.get_missing_weights()):
        raise RefitFailed(f"{len(missing)} weights are missing, such as {missing[:3]}")
    if not refitter.refit_cuda_engine():
        raise RefitFailed(library.said(log))
