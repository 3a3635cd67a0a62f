"""Formatters: texts, defaults, the current time, similarity of vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.blocks.core import DATA_OPERATIONS, prepared
from runtime.workflow.fields import (
    ANY,
    BOOLEAN,
    EMBEDDING,
    FLOAT,
    STRING,
    TIMESTAMP,
    Anything,
    Field,
    ListOf,
    Report,
    Text,
    dictionary,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.query.conditions import Chain, Env


class FirstNonEmptyOrDefault(Block):
    types = ("roboflow_core/first_non_empty_or_default@v1", "FirstNonEmptyOrDefault")
    title = "First non-empty or default"
    fields = (Field("data", kinds(ANY), shape="list"), option("default", Anything(), None))
    outputs = gives(output=kinds(ANY))
    accepts_empty = True

    def run(self, data: list[Any], default: Any) -> Any:
        return next((value for value in data if value is not None), default)


class StringTemplate(Block):
    """In a template `{{` and `}}` are braces, as in a format string; `{ $parameters.x }` is the datum x."""

    types = ("roboflow_core/string_template@v1",)
    title = "String template"
    fields = (need("template", Text(), STRING), dictionary("data", required=False), DATA_OPERATIONS)
    outputs = gives(output=kinds(STRING))

    def run(self, template: str, data: Env, data_operations: dict[str, Chain]) -> str:
        values = prepared(data, data_operations)
        out: list[str] = []
        rest = template
        while rest:
            head, rest = _next(rest, values)
            out.append(head)
        return "".join(out)


PREFIX = "$parameters."


def _next(text: str, values: Env) -> tuple[str, str]:
    """The next piece as it is written, and the rest of the template."""
    at = min((i for i in (text.find("{"), text.find("}")) if i >= 0), default=-1)
    if at < 0:
        return text, ""
    if text[at : at + 2] in ("{{", "}}"):
        return text[: at + 1], text[at + 2 :]
    end = text.find("}", at)
    name = text[at + 1 : end].strip() if text[at] == "{" and end > at else ""
    if not name.startswith(PREFIX):
        return text[: at + 1], text[at + 1 :]
    if name[len(PREFIX) :] not in values:
        raise StepFailed(f"template names {name!r}, which is not in data")
    return text[:at] + str(values[name[len(PREFIX) :]]), text[end + 1 :]


class CurrentTime(Block):
    types = ("roboflow_core/current_time@v1",)
    title = "Current time"
    fields = (option("timezone", Text(64), "UTC", STRING),)
    outputs = gives(
        timestamp=kinds(TIMESTAMP), iso_string=kinds(STRING), date=kinds(STRING), time=kinds(STRING)
    )

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        zone = step.get("timezone", "UTC")
        if not isinstance(zone, str) or zone.startswith("$"):
            return
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            report.wrong(f"{path}.timezone", zone, "a time zone of the IANA list, e.g. Europe/Berlin")

    def run(self, timezone: str) -> tuple[Any, ...]:
        now = datetime.fromtimestamp(self.around.clock_wall(), _UTC).astimezone(ZoneInfo(timezone))
        return now, now.isoformat(), now.strftime("%Y-%m-%d"), now.strftime("%H:%M:%S")


_UTC = timezone.utc


_FENCED = re.compile(r"```json([\s\S]*?)```", re.IGNORECASE)


class JsonParser(Block):
    """What stands in a fence of ```json, or the whole text."""

    types = ("roboflow_core/json_parser@v1",)
    title = "JSON parser"
    fields = (Field("raw_json", kinds(ANY)), Field("expected_fields", literal=ListOf(Text(256))))

    @classmethod
    def bind(cls, step: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
        names = step.get("expected_fields")
        named = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
        return {"error_status": kinds(BOOLEAN), **{name: kinds(ANY) for name in named}}

    def run(self, raw_json: str, expected_fields: list[str]) -> Any:
        try:
            fenced = _FENCED.search(raw_json[: 1 << 20])
            document = json.loads(fenced[1] if fenced else raw_json[: 1 << 20])
        except (ValueError, TypeError, RecursionError):
            document = None
        names = list(dict.fromkeys(n for n in expected_fields if n != "error_status"))
        found = document if isinstance(document, dict) else {}
        failed = not isinstance(document, dict) or any(name not in found for name in names)
        values = [found.get(name) for name in names]
        return (failed, *values) if values else failed


class CosineSimilarity(Block):
    types = ("roboflow_core/cosine_similarity@v1",)
    title = "Cosine similarity"
    fields = (Field("embedding_1", kinds(EMBEDDING)), Field("embedding_2", kinds(EMBEDDING)))
    outputs = gives(similarity=kinds(FLOAT))

    def run(self, embedding_1: Any, embedding_2: Any) -> float:
        a, b = np.asarray(embedding_1, np.float64), np.asarray(embedding_2, np.float64)
        if a.shape != b.shape:
            raise StepFailed(f"vectors of {a.size} and {b.size} numbers cannot be compared")
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        if not length:
            raise StepFailed("a vector of length 0 has no direction to compare")
        return float(np.dot(a.ravel(), b.ravel())) / length


BLOCKS = (FirstNonEmptyOrDefault, StringTemplate, CurrentTime, JsonParser, CosineSimilarity)
