"""Memory of others that the GPU may read directly: slots of attached pipelines, registered as pinned memory while they are mapped.

What cannot be registered is copied as before. Whoever unmaps memory unpins it first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from runtime.model.backends.cuda.api import Cuda, CudaError

logger = logging.getLogger(__name__)

MAX_PINNED_BYTES = 256 * 1024 * 1024
"""Pinned pages are in memory for good: 64 slots of a 1280 by 1280 model and more."""


def address_of(part: npt.NDArray[Any]) -> int:
    """Where an array's bytes begin."""
    return int(part.__array_interface__["data"][0])


class Pins:
    """What is registered. Calls belong to a thread that has entered the GPU's context."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._sizes: dict[int, int] = {}
        self._told = False

    def enter(self) -> None:
        """Make the GPU's context the calling thread's.

        :raises CudaError: the GPU has failed
        """
        self._cuda.enter()

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Register each part; one that the driver refuses, or that is too much, is left as it is."""
        for part in parts:
            address, size_bytes = address_of(part), part.nbytes
            if address in self._sizes or sum(self._sizes.values()) + size_bytes > MAX_PINNED_BYTES:
                continue
            try:
                self._cuda.register_host(address, size_bytes)
            except CudaError as e:
                self._tell("slots are not pinned, and are copied", e)
                return
            self._sizes[address] = size_bytes

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Let each part go that was registered."""
        for part in parts:
            self._release(address_of(part))

    def holds(self, address: int, size_bytes: int) -> bool:
        """Whether a registered part begins here and is as long."""
        return self._sizes.get(address, 0) >= size_bytes > 0

    def close(self) -> None:
        for address in list(self._sizes):
            self._release(address)

    def _release(self, address: int) -> None:
        if self._sizes.pop(address, None) is None:
            return
        try:
            self._cuda.unregister_host(address)
        except CudaError as e:  # a GPU that has failed gives nothing back; the process' end does
            self._tell("a slot stays pinned", e)

    def _tell(self, what: str, error: CudaError) -> None:
        if not self._told:
            self._told = True
            logger.warning("%s: %s", what, error)
