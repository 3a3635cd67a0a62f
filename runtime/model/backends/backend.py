"""The seam behind which an engine runs a graph: tensors in, tensors out, no images, no decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from runtime.model.families.family import Port


def _silent(words: str) -> None:
    pass


@dataclass(frozen=True)
class RunOptions:
    """How an engine runs a graph.

    `threads`: of one run; `runs`: at the same time; 0 lets the engine choose. `spinning`: threads wait by burning CPU. `optimise`: rewrite the graph.
    `precision`: what the engine computes in where the graph itself leaves it open: `fp32` or `bf16`. `max_batch`: the largest
    batch a graph of open batch will be asked for. `cache`: a directory for what costs much to make; None keeps nothing.
    `refit`: new weights may be put into an engine that was built for others, because the caller checks the golden image.
    `progress` is told, in a few words, how far a long build is.
    """

    threads: int = 0
    runs: int = 0
    spinning: bool = False
    optimise: bool = True
    precision: str = "fp32"
    max_batch: int = 1
    cache: Path | None = None
    refit: bool = False
    progress: Callable[[str], object] = _silent


class Backend(Protocol):
    """One loaded graph. At most `runs_at_once` threads at a time may call `run`, one thread the rest."""

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    @property
    def info(self) -> dict[str, Any]:
        """For people: engine, version, provider."""

    @property
    def runs_at_once(self) -> int:
        """How many threads may call `run` at the same time, and gain by it."""

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Feed the one image input; outputs in the graph's order, owned by the caller.

        :raises Transient: the engine failed on this request; `reason` ENGINE_ERROR or OUT_OF_MEMORY; GPU_FAULT: it can run nothing
            more in this process
        """

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Batches of one will lie in these parts, until `unpin`: an engine may prepare to read them where they are."""

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """These parts are about to go. No run is under way."""

    def confirm(self) -> None:
        """The golden image's result is the promised one: what was made on trust may be kept."""

    def close(self) -> None:
        """Give the graph's memory back."""
