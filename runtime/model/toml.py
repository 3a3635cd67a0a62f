"""Reads typed values out of parsed TOML and collects every problem instead of stopping at the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from wire.problem import Problem, nearest, shown
from wire.reasons import Reason

V = TypeVar("V")


class Table:
    """One table of a document. `problems` is shared by all tables of it; a wrong value reads as its default."""

    def __init__(self, values: Any, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        if not isinstance(values, Mapping):
            self.problem("", f"{shown(values)} is not a table", f"a table [{path}]")
            values = {}
        self._values: Mapping[str, Any] = values

    def problem(self, key: str, message: str, expected: str = "", remedy: str = "") -> None:
        at = ".".join(part for part in (self.path, key) if part)
        self.problems.append(Problem(at, Reason.PACKAGE_INVALID, message, expected, remedy))

    def has(self, key: str) -> bool:
        return key in self._values

    def table(self, key: str) -> Table:
        """The table of this name; an absent one reads as empty."""
        return Table(self._values.get(key, {}), ".".join(p for p in (self.path, key) if p), self.problems)

    def raw(self) -> dict[str, Any]:
        return dict(self._values)

    def text(self, key: str, default: str | None = None, *, longest: int = 500) -> str:
        value = self._get(key, default)
        if isinstance(value, str) and len(value) <= longest:
            return value
        return self._wrong(key, value, f"a text of at most {longest} characters", default or "")

    def choice(self, key: str, options: Sequence[str], default: str | None = None) -> str:
        value = self._get(key, default)
        if isinstance(value, str) and value in options:
            return value
        remedy = nearest(value, options) if isinstance(value, str) else ""
        return self._wrong(key, value, f"one of {', '.join(options)}", default or options[0], remedy)

    def integer(self, key: str, default: int | None = None, *, least: int, most: int) -> int:
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        return self._wrong(key, value, f"a whole number from {least} to {most}", least)

    def number(self, key: str, default: float | None = None, *, least: float, most: float) -> float:
        value = self._get(key, default)
        if _is_number(value) and least <= value <= most:
            return float(value)
        return self._wrong(key, value, f"a number from {least:g} to {most:g}", least)

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._get(key, default)
        return value if isinstance(value, bool) else self._wrong(key, value, "true or false", False)

    def three(
        self, key: str, default: tuple[float, float, float], *, zero: bool = True
    ) -> tuple[float, float, float]:
        """Three numbers, one for each colour channel."""
        value = self._get(key, list(default))
        good = isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
        if good and (zero or 0 not in value):
            return (float(value[0]), float(value[1]), float(value[2]))
        return self._wrong(key, value, "three numbers" + ("" if zero else ", none of them 0"), default)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        return self._wrong(key, value, "a list of texts", ())

    def _get(self, key: str, default: Any) -> Any:
        return self._values.get(key, default)

    def _wrong(self, key: str, value: Any, expected: str, instead: V, remedy: str = "") -> V:
        message = "is missing" if value is None else f"{shown(value)} cannot be used"
        self.problem(key, message, expected, remedy)
        return instead


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
