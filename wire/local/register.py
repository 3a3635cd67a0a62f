"""The kinds of messages: a name on the wire for each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

M = TypeVar("M")
KINDS: dict[str, type[Any]] = {}
NAMES: dict[type[Any], str] = {}


def message(kind: str) -> Callable[[type[M]], type[M]]:
    """Enter a class under its name."""

    def register(cls: type[M]) -> type[M]:
        KINDS[kind] = cls
        NAMES[cls] = kind
        return cls

    return register
