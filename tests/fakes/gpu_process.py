"""The real engine process on a fake GPU that goes astray: after `RUNS` runs every call of CUDA fails until the process ends."""

from __future__ import annotations

import os
import sys

from runtime.model import backends, process
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt_machine import CURRENT, machine

ENGINE = "tensorrt-fake"
RUNS = 8
"""More than warming and the golden check take."""


class Fragile(FakeCuda):
    """Spoiled by one run too many."""

    def launch(self, graph: int, stream: int) -> None:
        if self.launches >= RUNS:
            self.spoil()
        super().launch(graph, stream)


def main() -> int:
    backends.ENGINES[ENGINE] = "tests.fakes.tensorrt_machine:open_current"
    CURRENT[:] = [machine(cuda=Fragile())]
    return process.main()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
