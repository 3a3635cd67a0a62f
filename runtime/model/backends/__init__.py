"""What runs a graph: one module an engine, behind the protocol of `backend.py`.

Which one is chosen by name; `auto` takes the first of the list that this machine can run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from runtime.errors import ModelRefused
from runtime.model.backends.backend import Backend, RunOptions
from wire.problem import nearest
from wire.reasons import Reason

Opener: TypeAlias = Callable[[Path | bytes, RunOptions], Backend]

ENGINES: dict[str, str] = {
    "auto": "runtime.model.backends.onnxruntime_cuda:open_best",
    "onnxruntime": "runtime.model.backends.onnxruntime_cuda:open_best",
    "onnxruntime-cpu": "runtime.model.backends.onnxruntime:open_cpu",
    "onnxruntime-cuda": "runtime.model.backends.onnxruntime_cuda:open_cuda",
    "tensorrt": "runtime.model.backends.tensorrt.opening:open_tensorrt",
    "tensorrt-rtx": "runtime.model.backends.tensorrt.opening:open_rtx",
    "openvino": "runtime.model.backends.openvino:open_cpu",
}
"""Name → `module:function`. The function raises ModelRefused(ENGINE_UNAVAILABLE) where it cannot run here."""


GPU_ENGINES = frozenset(("onnxruntime-cuda", "tensorrt", "tensorrt-rtx"))


def on_gpu(name: str) -> bool:
    """Whether the engine of this name computes on a GPU here, as far as can be told without starting it."""
    if name in ("auto", "onnxruntime"):
        from runtime.model.backends import onnxruntime, onnxruntime_cuda

        return onnxruntime_cuda.CUDA in onnxruntime.imported().get_available_providers()
    return name in GPU_ENGINES


def open_backend(name: str, graph: Path | bytes, options: RunOptions) -> Backend:
    """Load a graph into the engine of this name.

    :raises ModelRefused: no such engine, not available on this machine, or it cannot load the graph
    """
    target = ENGINES.get(name)
    if target is None:
        hint = nearest(name, ENGINES)
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"no engine is called {name!r}; expected one of {', '.join(ENGINES)}"
            + (f"; {hint}" if hint else ""),
        )
    module, _, function = target.partition(":")
    opener: Opener = getattr(importlib.import_module(module), function)
    return opener(graph, options)
