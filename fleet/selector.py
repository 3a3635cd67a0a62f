"""Selectors over labels: `site=a, line in (1, 2), !spare`. One grammar for lists, rights and rollouts.

A selector is requirements joined by commas, all of which must hold; the empty one holds for every device.

    key = value     the label is there and has this value
    key != value    the label is absent or has another value
    key in (a, b)   the label is there and has one of these values
    key             the label is there
    !key            the label is absent

Keys and plain values are letters, digits and `. _ / : @ + -`; any other value stands in double quotes, as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fleet.errors import Refused
from wire.problem import Problem, shown
from wire.reasons import Reason

KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
VALUE_CHARACTERS = 128
MOST_LABELS = 64
MOST_CHARACTERS = 2000
MOST_REQUIREMENTS = 32
MOST_VALUES = 200

_KEY = re.compile(KEY_PATTERN)
_PLAIN = re.compile(r"[A-Za-z0-9._/:@+-]+")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
_SPACE = re.compile(r"[ \t]*")


class Operator(Enum):
    EQUALS = "="
    DIFFERS = "!="
    IN = "in"
    EXISTS = "exists"
    ABSENT = "!"


@dataclass(frozen=True)
class Requirement:
    """One condition on one label. `values` are sorted; one for `=` and `!=`, none for existence."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator is Operator.EXISTS:
            return value is not None
        if self.operator is Operator.ABSENT:
            return value is None
        if self.operator is Operator.DIFFERS:
            return value not in self.values
        return value in self.values

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.ABSENT:
            return f"!{self.key}"
        if self.operator is Operator.IN:
            return f"{self.key} in ({', '.join(map(_written, self.values))})"
        return f"{self.key}{self.operator.value}{_written(self.values[0])}"


@dataclass(frozen=True)
class Selector:
    """Requirements, all of which must hold; sorted, so that two selectors that say the same are equal."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether it matches whatever labels there are, because it asks for none."""
        return not self.requirements

    def __str__(self) -> str:
        """The selector in its own grammar; reading that gives an equal one."""
        return ", ".join(map(str, self.requirements))


EVERYTHING = Selector()


def parse(text: str) -> Selector:
    """Read a selector.

    :raises Refused: the message says at which character, and what was expected there
    """
    if len(text) > MOST_CHARACTERS:
        raise _refused(text, 0, f"at most {MOST_CHARACTERS} characters")
    reader = _Reader(text)
    if reader.at_end():
        return EVERYTHING
    found = {_requirement(reader)}
    while not reader.at_end():
        reader.take(",", "a comma, or the end")
        found.add(_requirement(reader))
        if len(found) > MOST_REQUIREMENTS:
            raise _refused(text, reader.at, f"at most {MOST_REQUIREMENTS} requirements")
    return Selector(tuple(sorted(found, key=str)))


def label_problems(labels: Mapping[str, str], path: str = "labels") -> list[Problem]:
    """What is wrong with labels that a device is to have."""
    found = []
    if len(labels) > MOST_LABELS:
        found.append(
            Problem(path, Reason.INVALID_FIELD, f"holds {len(labels)} labels", f"at most {MOST_LABELS}")
        )
    for key, value in labels.items():
        if _KEY.fullmatch(key) is None:
            message = f"{shown(key)} cannot be a label's key"
            found.append(
                Problem(path, Reason.INVALID_FIELD, message, "letters, digits, '.', '_', '/', '-'; 1 to 63")
            )
        elif not _is_value(value):
            message = f"{shown(value)} cannot be a label's value"
            expected = f"1 to {VALUE_CHARACTERS} printable characters"
            found.append(Problem(f"{path}.{key}", Reason.INVALID_FIELD, message, expected))
    return found


def _is_value(value: str) -> bool:
    return 1 <= len(value) <= VALUE_CHARACTERS and value.isprintable()


class _Reader:
    """The text and how far it is read; space between words is passed over."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        self._skip()
        return found.group()

    def maybe(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self._skip()
        return True

    def take(self, sign: str, expected: str) -> None:
        if not self.maybe(sign):
            raise _refused(self.text, self.at, expected)

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None
        self.at = space.end()


def _requirement(reader: _Reader) -> Requirement:
    if reader.maybe("!"):
        return Requirement(_key(reader), Operator.ABSENT)
    key = _key(reader)
    if reader.maybe("!="):
        return Requirement(key, Operator.DIFFERS, (_value(reader),))
    if reader.maybe("="):
        return Requirement(key, Operator.EQUALS, (_value(reader),))
    if reader.at_end() or reader.text[reader.at] == ",":
        return Requirement(key, Operator.EXISTS)
    if reader.match(re.compile(r"in(?=[ \t(])")) is None:
        raise _refused(reader.text, reader.at, "=, !=, in (…), a comma, or the end")
    return Requirement(key, Operator.IN, _values(reader))


def _values(reader: _Reader) -> tuple[str, ...]:
    reader.take("(", "an opening bracket")
    found = {_value(reader)}
    while not reader.maybe(")"):
        reader.take(",", "a comma or a closing bracket")
        found.add(_value(reader))
        if len(found) > MOST_VALUES:
            raise _refused(reader.text, reader.at, f"at most {MOST_VALUES} values")
    return tuple(sorted(found))


def _key(reader: _Reader) -> str:
    start = reader.at
    key = reader.match(_KEY)
    if key is None:
        raise _refused(reader.text, start, "a label's key")
    return key


def _value(reader: _Reader) -> str:
    start = reader.at
    quoted = reader.match(_QUOTED)
    value = json.loads(quoted) if quoted is not None else reader.match(_PLAIN)
    if value is None or not _is_value(value):
        raise _refused(
            reader.text, start, f"a value of 1 to {VALUE_CHARACTERS} characters; quote unusual ones"
        )
    return str(value)


def _written(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _refused(text: str, at: int, expected: str) -> Refused:
    return Refused(
        Reason.SELECTOR_INVALID,
        f"the selector {shown(text)} cannot be read at character {at + 1}; expected {expected}",
    )
