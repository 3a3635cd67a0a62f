"""What a block is: its identifiers, fields and outputs, and one method that works on one element of a batch.

State of a step lives in its block instance, and nowhere else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from runtime.errors import Degraded
from runtime.sinks.desk import Desk
from runtime.workflow.fields import Field, Report, Schema
from runtime.workflow.values import DetectionIds
from wire.reasons import Reason

Kinds = frozenset[str]


class StepFailed(Degraded):
    """A step could not work on one element: its branch gives nothing for it. The message is the reason."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.STEP_FAILED, message)


@dataclass(frozen=True)
class Surroundings:
    """What blocks take from outside. `clock_wall` is in seconds since the epoch. `desk` delivers for sinks; `step`: the name of
    the step that a block serves. `kept`: values that steps of one workflow keep for each other, by video and key."""

    clock_wall: Callable[[], float]
    clock_mono: Callable[[], float]
    ids: DetectionIds = field(default_factory=DetectionIds)
    desk: Desk = field(default_factory=Desk)
    step: str = ""
    kept: OrderedDict[tuple[str, str], Any] = field(default_factory=OrderedDict)


class Block:
    """One type of step.

    `types`: the identifier first, then its aliases. `outputs`: name → kinds. `dimension`: what the output has more (+1) or
    less (-1) than the input; with -1 every field of `shape` value that is bound to data of the step's dimension arrives as a
    list. `accepts_empty`: elements that are None are handed over. `reference`: the field whose dimension counts where
    others have an offset.
    """

    types: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[Field, ...]] = ()
    outputs: ClassVar[Mapping[str, Kinds]] = {}
    dimension: ClassVar[int] = 0
    accepts_empty: ClassVar[bool] = False
    reference: ClassVar[str] = ""
    title: ClassVar[str] = ""

    def __init__(self, around: Surroundings) -> None:
        self.around = around

    whole: bool = False
    """Whether `run_batch` takes all elements of a step at once, in place of `run`."""

    def run_batch(
        self, indices: Sequence[tuple[int, ...]], elements: Sequence[Mapping[str, Any]]
    ) -> list[Any]:
        """Work on all elements that run; each answer as of `run`."""
        return [self.run(**values) for values in elements]

    def run(self, *args: Any, **values: Any) -> Any:
        """Work on one element: every field by name. One output: its value; several: a tuple in their order; with dimension
        +1 a list of these. Flow control: the name of the branch to go on with (a field, or a key of cases), or None.

        :raises StepFailed: nothing can be told about this element; any other exception is reported the same way
        """
        raise NotImplementedError

    def close(self) -> None:
        """The step is gone from the workflow, or the workflow ends: let go what is held outside the process."""

    @classmethod
    def same_as(cls, other: type[Block]) -> bool:
        """Whether state may go over from a step of the other type."""
        return cls is other

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        """Look at the fields together, after each was read by itself."""

    @classmethod
    def bind(cls, step: Mapping[str, Any]) -> Mapping[str, Kinds]:
        """The outputs of a step; a block whose outputs hang on its configuration overrides this."""
        return cls.outputs

    @classmethod
    def flow_fields(cls) -> Sequence[Field]:
        return [f for f in cls.fields if f.shape in ("steps", "step_cases")]

    @classmethod
    def schema(cls) -> Schema:
        """JSON Schema of a step of this type."""
        properties: Schema = {
            "type": {"enum": list(cls.types)},
            "name": {"type": "string", "pattern": r"^[A-Za-z0-9_\-]+$"},
        }
        properties |= {f.name: f.schema() for f in cls.fields}
        return {
            "title": cls.title or cls.types[0],
            "type": "object",
            "properties": properties,
            "required": ["type", "name", *(f.name for f in cls.fields if f.required)],
            "x-outputs": {name: sorted(kinds) for name, kinds in cls.outputs.items()},
        }


class ModelBlock(Block):
    """A step that asks a model. Its pictures are asked about together, ahead of the other steps where they hang on nothing
    but the camera's picture."""

    image_field: ClassVar[str] = "images"

    def answer(self, result: Any, **values: Any) -> Any:
        """The outputs for one picture and its `runtime.results.Result`; like `run`."""
        raise NotImplementedError
