"""Bodies of requests: unknown fields are refused, because a misspelt one would be passed over in silence."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Body(BaseModel):
    """The base of the bodies."""

    model_config = ConfigDict(extra="forbid")


def _storable(text: str) -> str:
    if "\0" in text or not text.isprintable():
        raise ValueError("printable characters, on one line")
    return text


Line = Annotated[str, AfterValidator(_storable)]
"""One line of text as databases and terminals take it."""
