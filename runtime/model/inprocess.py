"""The engine protocol within this process: for the SDK, batch work and tests. One thread at a time may call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.errors import ModelRefused
from runtime.model import package
from runtime.model.engine import Done, Ticket
from runtime.model.preprocess import Preprocessor, preprocessor
from runtime.model.session import LoadedModel, LoadOptions
from runtime.model.spec import ModelSpec
from runtime.results import Answer, Image, NoAnswer
from wire.problem import shown
from wire.reasons import Reason


class InProcessEngine:
    """A loaded package behind `runtime.model.engine.Engine`. Answers are ready when `submit` returns."""

    def __init__(self, directory: Path, options: LoadOptions | None = None, *, digest: str = "") -> None:
        """`digest`: known to the caller; else it is computed when first asked for.

        :raises ModelRefused: with every problem found
        """
        self._model = LoadedModel(directory, options)
        self._digest = digest
        self._preprocess: Preprocessor = preprocessor(self._model.spec.input, exact=self._model.options.exact)
        self._batch = np.empty((1, *self._model.tensor_shape), self._preprocess.dtype)
        self._open = True

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def digest(self) -> str:
        if not self._digest:
            self._digest = package.digest(self._model.directory)
        return self._digest

    @property
    def model(self) -> LoadedModel:
        """The model itself: its information, warm-up and golden check."""
        return self._model

    def submit(self, images: Sequence[Image]) -> Ticket:
        if not self._open:
            return Done(tuple(NoAnswer(Reason.ENGINE_DOWN, "the engine was closed") for _ in images))
        for image in images:
            _check(image)
        answers: list[Answer] = []
        limit = self._model.batch_limit
        for start in range(0, len(images), limit):
            part = images[start : start + limit]
            batch = self._room(len(part))
            geometries = [
                self._preprocess.into(image, tensor) for image, tensor in zip(part, batch, strict=True)
            ]
            answers += self._model.run(batch, geometries, part if self._model.options.exact else None)
        return Done(tuple(answers))

    def _room(self, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        if len(self._batch) < count:
            self._batch = np.empty((count, *self._model.tensor_shape), self._preprocess.dtype)
        return self._batch[:count]

    def close(self) -> None:
        if self._open:
            self._open = False
            self._model.close()


def _check(image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        have = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else shown(image)
        raise ModelRefused(Reason.MODEL_INPUTS, f"an image must be (H, W, 3) uint8 BGR; this is {have}")
    if 0 in image.shape:
        raise ModelRefused(Reason.MODEL_INPUTS, f"an image must not be empty; this is {image.shape}")
