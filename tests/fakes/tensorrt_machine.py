"""A machine with the fake TensorRT and the fake CUDA, on which real graphs run from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.backends.cuda.driver import Gpu
from runtime.model.backends.tensorrt import build, opening
from tests.fakes import tensorrt
from tests.fakes.cuda import FakeCuda

GPU = Gpu("Fake Orin", 87, 12060, False, 1 << 30)


def in_process(order: build.Order, tell: Callable[[str], object]) -> dict[str, Any]:
    """Builds without a child."""
    return build.build(order, tell)


def machine(*faults: str, gpu: Gpu = GPU, cuda: FakeCuda | None = None) -> opening.Machine:
    """A machine; the fake TensorRT begins anew on it."""
    made = cuda or FakeCuda(integrated=gpu.integrated)
    tensorrt._connect(made, *faults)
    return opening.Machine(tensorrt, gpu, made, in_process)


CURRENT: list[opening.Machine] = []


def open_current(graph: Path | bytes, options: RunOptions) -> Backend:
    """An engine of the name `tensorrt-fake`, once a test has put it into `backends.ENGINES`: on the machine of `CURRENT`."""
    return opening.open_on(CURRENT[-1], graph, options)
