"""The form of a rollout makes plans that the control plane takes."""

from __future__ import annotations

import pytest

from fleet.console.rollout_form import Form, plan_of
from fleet.rollout.plan import CANARY, Plan
from wire.doc import read


def test_an_untouched_form_is_the_usual_plan() -> None:
    plan = read(Plan, plan_of(Form(name="r", models={"people": "yolox@3"})))
    assert plan.change == {"models": {"people": "yolox@3"}}
    assert [(wave.devices, wave.percent) for wave in plan.waves] == [(w.devices, w.percent) for w in CANARY]
    assert [wave.gates.soak_s for wave in plan.waves] == [wave.gates.soak_s for wave in CANARY]
    assert plan.on_failure.value == "roll-back"


def test_what_is_written_as_json_comes_on_top_and_the_fields_win() -> None:
    more = '{"models": {"faces": "yunet"}, "settings": {"health_s": 10}}'
    rest = '{"name": "other", "pace": {"concurrent": 7}, "windows": [{"days": ["sat"], "start": "02:00", "end": "05:00"}]}'
    form = Form(
        name="r", models={"people": "yolox"}, more=more, rest=rest, figure="confidence", first=" a, b ,"
    )
    plan = read(Plan, plan_of(form))
    assert plan.change == {"models": {"faces": "yunet", "people": "yolox"}, "settings": {"health_s": 10}}
    assert (plan.name, plan.pace.concurrent, plan.first) == ("r", 7, ("a", "b"))
    assert plan.waves[0].gates.compare[0].figure == "confidence"


@pytest.mark.parametrize(
    ("field", "said"), [("more", "the further change"), ("rest", "the rest of the plan")]
)
def test_what_is_no_json_object_is_named(field: str, said: str) -> None:
    for text in ("{", "[1]"):
        with pytest.raises(ValueError, match=said):
            plan_of(Form(**{field: text}))
