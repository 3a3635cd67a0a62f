"""The base of every document: frozen, unknown fields kept and passed over, errors as located problems."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from wire.errors import Refused
from wire.problem import Problem, expectation, shown
from wire.reasons import Reason

D = TypeVar("D", bound="Doc")


class Doc(BaseModel):
    """A document of the wire. Fields this version does not know are kept, so that passing a document on loses nothing."""

    model_config = ConfigDict(extra="allow", frozen=True, ser_json_inf_nan="null")

    def to_json(self) -> dict[str, Any]:
        """The document as JSON types; unknown fields included, fields that were not set left out."""
        return self.model_dump(mode="json", exclude_unset=False)


def read(kind: type[D], value: object) -> D:
    """Build a document from parsed JSON.

    :raises Refused: with one problem for each field that is wrong
    """
    try:
        return kind.model_validate(value)
    except ValidationError as e:
        problems = [_problem(error) for error in e.errors(include_url=False, include_context=False)]
        raise Refused(
            f"{kind.__name__} has {len(problems)} problem(s): " + "; ".join(map(str, problems)),
            Reason.INVALID_FIELD,
            problems,
        ) from e


def _problem(error: Any) -> Problem:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return Problem(path, Reason.INVALID_FIELD, "is missing", remedy="add the field")
    return Problem(
        path,
        Reason.INVALID_FIELD,
        f"{shown(error['input'])} cannot be used",
        expected=expectation(error["msg"]),
    )
