"""The forms of alerts write documents that the control plane takes, and put its complaints to the right field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fleet.alerts.rules import BUILT_IN, Rule
from fleet.alerts.targets import read_target
from fleet.console.alert_form import (
    RULE,
    TARGETS,
    rule_document,
    rule_problems,
    shown_rule,
    target_document,
)
from fleet.console.fields import Complaints, placed, span_of, span_words, values_of
from wire.problem import expectation

FULL: dict[str, dict[str, Any]] = {
    "webhook": {"url": "https://x/hook", "secret": "secret:s", "headers": {"A": "secret:b"}},
    "slack": {"url": "secret:slack-url", "min_severity": "critical", "enabled": False},
    "email": {
        "host": "mail",
        "port": 465,
        "security": "tls",
        "username": "u",
        "password": "secret:p",
        "sender": "a@b",
        "to": ["c@d", "e@f"],
    },
    "mqtt": {"topic": "a/b", "url": "mqtts://h:8883", "retain": True},
}


@pytest.mark.parametrize("kind", FULL)
def test_a_target_comes_out_of_its_form_as_it_went_in(kind: str) -> None:
    target = read_target({"kind": kind, **FULL[kind]})
    values = values_of(TARGETS[kind].fields, target.to_json())
    assert read_target(target_document(kind, values)) == target
    assert {field.key for field in TARGETS[kind].fields} == set(type(target).model_fields) - {"kind"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_rule_comes_out_of_its_form_as_it_went_in(name: str) -> None:
    rule = BUILT_IN[name]
    values = values_of(RULE, shown_rule(rule.to_json()))
    about = "figure" if rule.limit else "faults"
    assert Rule.model_validate(rule_document(values, about)) == rule


def test_the_form_has_every_field_of_a_rule() -> None:
    assert {field.key.partition(".")[0] for field in RULE} == set(Rule.model_fields)


def test_a_new_rule_is_the_usual_one() -> None:
    assert Rule.model_validate(rule_document(values_of(RULE, {}), "faults")) == Rule()


def test_spans_are_read_and_written_as_people_do() -> None:
    for text, span_s in (("90 s", 90), ("10min", 600), ("4 H", 14_400), ("1.5 d", 129_600), ("45", 45)):
        assert span_of(text) == span_s
    assert [span_words(s) for s in (0, 90, 600, 14_400, 86_400)] == ["0 s", "90 s", "10 min", "4 h", "1 d"]
    with pytest.raises(Complaints) as refused:
        rule_document(values_of(RULE, {}) | {"for_s": "soon", "repeat_s": ""}, "faults")
    assert set(refused.value.by_field) == {"for_s", "repeat_s"}


def problems_of(error: ValidationError, *outer: str) -> list[dict[str, str]]:
    """As the API tells them."""
    return [
        {
            "path": ".".join(map(str, (*outer, *entry["loc"]))),
            "message": "…",
            "expected": expectation(entry["msg"]),
        }
        for entry in error.errors()
    ]


def test_complaints_stand_at_their_fields() -> None:
    document = {"kind": "email", "sender": "nobody", "to": ["x@y", "z"], "port": 0, "colour": "red"}
    with pytest.raises(ValidationError) as refused:
        read_target(document)
    found = placed(TARGETS["email"].fields, problems_of(refused.value, "body"), "email")
    assert set(found.by_field) == {"host", "sender", "to", "port"}
    assert "NAME@HOST" in found.by_field["to"]
    assert len(found.rest) == 1
    with pytest.raises(ValidationError) as refused:
        Rule.model_validate({"limit": {"figure": "fps", "window_s": 1}, "codes": ["a b"]})
    found = placed(RULE, rule_problems(problems_of(refused.value, "body")))
    assert set(found.by_field) == {"limit.window_s", "codes"}
    with pytest.raises(ValidationError) as refused:
        Rule.model_validate({"limit": {"figure": "fps"}})
    found = placed(RULE, rule_problems(problems_of(refused.value, "body")))
    assert found.by_field == {"limit.value": "One of above and below is expected"}
