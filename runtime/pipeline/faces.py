"""Finds what a picture has to hide by a model of its own, whatever the workflow looks for: the camera's `privacy.faces`.

A finder belongs to one thread. It asks only when a picture is about to leave or to be kept.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.errors import Degraded, RuntimeFault
from runtime.model.attachment import AttachedEngine
from runtime.results import Image, NoAnswer, Result
from wire.local import ModelBinding
from wire.reasons import Reason

ANSWER_S = 2.0
CONNECT_S = 2.0

Attach = Callable[[ModelBinding], AttachedEngine]


def attach(model: ModelBinding) -> AttachedEngine:
    return AttachedEngine(model.socket, model.digest, slots=1, answer_timeout_s=ANSWER_S)


class Finder:
    """Keeps its engine attached from one picture to the next, until another model is named."""

    def __init__(self, attach: Attach = attach) -> None:
        self._attach = attach
        self._model: ModelBinding | None = None
        self._engine: AttachedEngine | None = None

    def find(self, image: Image, model: ModelBinding | None) -> Result | None:
        """What the model finds; None where none is named.

        :raises Degraded: it does not answer, so that nobody knows what there is to hide
        """
        if model is None:
            return None
        try:
            answer = self._asked(image, model)
        except (RuntimeFault, OSError) as e:
            raise _withheld(model, str(e)) from e
        if isinstance(answer, NoAnswer):
            self.close()
            raise _withheld(model, answer.message or answer.reason.value)
        return answer

    def _asked(self, image: Image, model: ModelBinding) -> Result | NoAnswer:
        if self._engine is None or self._model != model:
            self.close()
            self._model, self._engine = model, self._attach(model)
        if not self._engine.attached and not self._engine.connect(CONNECT_S):
            return NoAnswer(Reason.ENGINE_DOWN, "its engine does not accept the pipeline")
        answers = self._engine.submit([image]).wait(ANSWER_S)
        return answers[0] if answers else NoAnswer(Reason.ENGINE_TIMEOUT, "no answer")

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine, self._model = None, None


def _withheld(model: ModelBinding, why: str) -> Degraded:
    return Degraded(
        Reason.PICTURE_WITHHELD,
        f"the camera's privacy policy hides what model {model.name!r} finds, and that does not answer: {why}; no picture leaves",
    )
