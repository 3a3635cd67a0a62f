"""The engine protocol: who asks models, and how. Implementations behind it: in this process (`inprocess.py`), and in an
engine process over slots (`attachment.py`).

A request is 1..n images' tensors of the model's declared shape. The engine decodes, so an answer is a `Result` in pixels of
the image, or `NoAnswer` with its cause. A caller always gets exactly one answer for each tensor, in order, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.model.spec import ModelSpec
from runtime.results import Answer, Image


class Ticket(Protocol):
    """A request under way."""

    def ready(self) -> bool:
        """Whether `wait` would return at once."""

    def wait(self, timeout_s: float) -> list[Answer]:
        """One answer for each image of the request; `NoAnswer(ENGINE_TIMEOUT)` for each when the time is over."""


class Engine(Protocol):
    """One model, ready to be asked. One thread at a time may call it."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def digest(self) -> str:
        """The digest of the model package: provenance of every answer."""

    def submit(self, images: Sequence[Image]) -> Ticket:
        """Ask about images, each (H, W, 3) uint8 BGR of any size; they may be reused once this returns.

        Preprocessing (resize, letterbox, colour order) happens here, in the caller's thread.
        """

    def close(self) -> None:
        """Let go of the model. Requests under way are answered with NoAnswer."""


@dataclass(frozen=True)
class Done:
    """A ticket that was answered at once."""

    answers: tuple[Answer, ...]

    def ready(self) -> bool:
        return True

    def wait(self, timeout_s: float) -> list[Answer]:
        return list(self.answers)


def ask(engine: Engine, image: Image, timeout_s: float = 30.0) -> Answer:
    """Ask about one image and wait."""
    return engine.submit([image]).wait(timeout_s)[0]
