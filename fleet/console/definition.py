"""A workflow definition as pages see it: what is joined to what, and where in its text a problem lies. Pure; no block is known here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

SELECTOR = re.compile(r"\$(inputs|steps)\.([A-Za-z0-9_\-]+)")
_SPACE = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_MOST_DEPTH = 64


@dataclass(frozen=True)
class Node:
    """`kind` is input, step or output; `type` is its type identifier."""

    kind: str
    name: str
    type: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind}s.{self.name}"


@dataclass
class Wiring:
    """Nodes in the definition's order, and arrows between keys of nodes."""

    nodes: list[Node] = field(default_factory=list)
    arrows: list[tuple[str, str]] = field(default_factory=list)


def inner(document: Any) -> Mapping[str, Any]:
    """The definition itself: editors' exports have it below `specification`. Nothing where it is none."""
    if not isinstance(document, dict):
        return {}
    below = document.get("specification")
    return below if isinstance(below, dict) else document


def wiring(document: Any) -> Wiring:
    """What can be told, also of a definition with mistakes."""
    definition = inner(document)
    found = Wiring()
    for kind in ("input", "step", "output"):
        for entry in _entries(definition, f"{kind}s"):
            found.nodes.append(Node(kind, str(entry["name"]), str(entry.get("type", ""))))
    known = {node.key for node in found.nodes}
    for kind in ("step", "output"):
        for entry in _entries(definition, f"{kind}s"):
            found.arrows += _arrows(f"{kind}s.{entry['name']}", entry, known)
    return found


def _entries(definition: Mapping[str, Any], section: str) -> Iterator[Mapping[str, Any]]:
    entries = definition.get(section)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            yield entry


def _arrows(key: str, entry: Mapping[str, Any], known: set[str]) -> Iterator[tuple[str, str]]:
    """From what a step reads to it, and from a step that decides to those it leads to; each once."""
    seen = set()
    for text, decides in _selectors(entry, False):
        for section, name in SELECTOR.findall(text):
            other = f"{section}.{name}"
            arrow = (key, other) if decides else (other, key)
            if other in known and other != key and arrow not in seen:
                seen.add(arrow)
                yield arrow


def _selectors(value: Any, decides: bool, depth: int = 0) -> Iterator[tuple[str, bool]]:
    if depth > _MOST_DEPTH:
        return
    if isinstance(value, str) and value.startswith("$"):
        yield value, decides and value.count(".") == 1
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _selectors(
                below, decides or name in ("next_steps", "default_next_steps", "case_switch"), depth + 1
            )
    elif isinstance(value, list):
        for below in value:
            yield from _selectors(below, decides, depth + 1)


def node_of(path: str) -> str:
    """The key of the node that a problem's path lies in; empty where it is in none."""
    parts = path.split(".")
    if parts[0] in ("inputs", "steps", "outputs") and len(parts) > 1:
        return f"{parts[0]}.{parts[1].partition('[')[0]}"
    return ""


# --- places in the text ---------------------------------------------------------------------------------------------------


@dataclass
class _Value:
    """Where a value begins; `below` are its parts by key or number, `name` the text of its field `name`."""

    start: int
    below: dict[str, _Value] = field(default_factory=dict)
    name: str = ""


def line_of(text: str, path: str) -> int:
    """The line, from 1, of the value that a problem's path names, or of the nearest one around it.

    `steps.count.zone[0]`: entries of lists go by number in brackets, or by their name.
    """
    try:
        root, _ = _scan(text, _skip(text, 0), 0)
    except (ValueError, IndexError, StopIteration):
        return error_line(text)
    here = root
    if "specification" in root.below and "steps" not in root.below:
        here = root.below["specification"]
    for name, number in _KEY.findall(path):
        following = here.below.get(name or number)
        if following is None:
            following = next((v for v in here.below.values() if v.name and v.name == name), None)
        if following is None:
            break
        here = following
    return text.count("\n", 0, here.start) + 1


def error_line(text: str) -> int:
    """The line at which it stops being JSON; 1 where it does not."""
    try:
        json.loads(text)
    except json.JSONDecodeError as e:
        return e.lineno
    except (ValueError, RecursionError):
        pass
    return 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scan(text: str, at: int, depth: int) -> tuple[_Value, int]:
    """The value at a place, and where it ends."""
    value = _Value(at)
    if text[at] not in "{[" or depth > _MOST_DEPTH:
        return value, json.JSONDecoder().raw_decode(text, at)[1]
    is_object, closing = text[at] == "{", "}" if text[at] == "{" else "]"
    at, count = _skip(text, at + 1), 0
    while text[at] != closing:
        key, key_at = str(count), at
        if is_object:
            key, at = scanstring(text, at + 1)
            at = _skip(text, _skip(text, at) + 1)
        start = at
        below, at = _scan(text, at, depth + 1)
        below.start = key_at
        if is_object and key == "name" and text[start] == '"':
            value.name = scanstring(text, start + 1)[0]
        value.below[key] = below
        count += 1
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return value, at + 1
