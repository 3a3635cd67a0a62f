"""Fields of forms: what a document shows in them, the document that is written from them, and whose field a problem is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "number", "choice", "flag", "list", "pairs", "secret", "span"]
Values = dict[str, Any]
SPANS_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)$")
_OF_TYPES = ("Field required", "Input ", "String ", "List ", "Tuple ", "Dictionary ", "Extra ")
"""How pydantic begins what a type expects; other words are ours, and say more than the field does."""
_OUTER = ("body", "path", "query")


@dataclass(frozen=True)
class Field:
    """`key` is its place in the document, with dots. `hint` stands below it, `expects` is said where the API refuses what is in it; `group` is
    the part of the form that it is shown with, always where it is empty. A list is written with commas, pairs are lines."""

    key: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    placeholder: str = ""
    expects: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    default: Any = ""


class Complaints(Exception):
    """What is wrong in which field; `rest` is what belongs to none."""

    def __init__(self, by_field: Mapping[str, str], rest: Sequence[str] = ()) -> None:
        super().__init__("; ".join([*by_field.values(), *rest]))
        self.by_field = dict(by_field)
        self.rest = tuple(rest)


def span_of(text: str) -> float:
    """`10 min` in seconds; a bare number is seconds.

    :raises ValueError: no length of time
    """
    found = _SPAN.match(text.strip().lower())
    if not found:
        raise ValueError("Expected: a length of time, e.g. 90 s, 10 min, 4 h")
    number, unit = found.groups()
    return float(number) * SPANS_S["min" if unit == "m" else unit or "s"]


def span_words(span_s: float) -> str:
    """Seconds in the greatest unit that divides them."""
    unit = next((u for u in ("d", "h", "min") if span_s and span_s % SPANS_S[u] == 0), "s")
    return f"{span_s / SPANS_S[unit]:g} {unit}"


def values_of(fields: Iterable[Field], document: Mapping[str, Any]) -> Values:
    """What the fields show of a document; their defaults where it says nothing."""
    return {each.key: _shown(each, _at(document, each.key)) for each in fields}


def _at(document: Any, key: str) -> Any:
    for part in key.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def _shown(each: Field, value: Any) -> Any:
    value = each.default if value is None else value
    if each.kind == "list":
        return ", ".join(value)
    if each.kind == "pairs":
        return "\n".join(f"{name}: {text}" for name, text in (value or {}).items())
    return span_words(float(value)) if each.kind == "span" else value


def document_of(fields: Iterable[Field], values: Values, group: str = "") -> dict[str, Any]:
    """The document that the API takes, without the fields of other groups and without those that are empty.

    :raises Complaints: what cannot be read
    """
    document: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for each in fields:
        if each.group not in ("", group):
            continue
        try:
            value = _written(each, values.get(each.key))
        except ValueError as e:
            wrong[each.key] = str(e)
            continue
        if value not in (None, "", [], {}):
            *outer, name = each.key.split(".")
            inner = document
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[name] = value
    if wrong:
        raise Complaints(wrong)
    return document


def _written(each: Field, value: Any) -> Any:
    if each.kind == "span":
        return span_of(str(value or ""))
    if each.kind == "list":
        return [part.strip() for part in re.split(r"[,;\n]", value or "") if part.strip()]
    if each.kind == "pairs":
        return dict(_pair(line) for line in (value or "").splitlines() if line.strip())
    if each.kind == "number" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value


def _pair(line: str) -> tuple[str, str]:
    name, sign, value = line.partition(":")
    if not sign or not name.strip():
        raise ValueError(f"{line.strip()[:40]!r} is not NAME: VALUE")
    return name.strip(), value.strip()


def placed(fields: Sequence[Field], problems: Iterable[Mapping[str, str]], tag: str = "") -> Complaints:
    """What the API has found, at its fields. `tag` is what paths have before a field where the document is one of several kinds."""
    found: dict[str, str] = {}
    rest: list[str] = []
    for problem in problems:
        parts = problem.get("path", "").split(".")
        for outer in ((*_OUTER,), (tag,)):
            parts = parts[1:] if len(parts) > 1 and parts[0] in outer else parts
        path = ".".join(parts)
        owner = next((each for each in fields if f"{path}.".startswith(f"{each.key}.")), None)
        if owner is None:
            rest.append(_said(problem, None))
        else:
            found.setdefault(owner.key, _said(problem, owner))
    return Complaints(found, rest)


def _said(problem: Mapping[str, str], owner: Field | None) -> str:
    """In the words of the field, or the API's own where it says more than a pattern does."""
    expected = problem.get("expected", "")
    of_the_type = expected.startswith(_OF_TYPES)
    if of_the_type and owner is not None and owner.expects:
        return f"Expected: {owner.expects}"
    if expected == "Field required":
        return "This is needed"
    if expected and not of_the_type:
        return expected[0].upper() + expected[1:]
    return "; ".join(filter(None, (problem.get("message", ""), expected, problem.get("remedy", ""))))
