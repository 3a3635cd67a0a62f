from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UpdateRefused
from agent.reconcile import applied, layout, plan
from wire.desired import Desired


def digest(n: int) -> str:
    return f"sha256:{n:064x}"


def build(document: dict[str, Any]) -> Desired:
    return Desired.model_validate({"device": "d", "revision": 1, "issued_at": 0.0, **document})


@st.composite
def desireds(draw: st.DrawFn) -> Desired:
    models = {
        f"m{i}": {"digest": digest(draw(st.integers(1, 4))), "engine": {"threads": draw(st.integers(0, 1))}}
        for i in range(3)
    }
    cameras = {f"c{i}": {"source": draw(st.sampled_from(["0", "rtsp://a/b", "/v.mp4"]))} for i in range(4)}
    workflows = {f"w{i}": {"digest": digest(draw(st.integers(10, 12)))} for i in range(2)}
    pipelines = {
        f"p{i}": {
            "camera": f"c{i}",
            "workflow": draw(st.sampled_from(["w0", "w1"])),
            "models": {"x": draw(st.sampled_from(["m0", "m1", "m2"]))},
        }
        for i in range(4)
        if draw(st.booleans())
    }
    return build({"models": models, "cameras": cameras, "workflows": workflows, "pipelines": pipelines})


@given(desireds(), desireds())
def test_a_plan_turns_what_runs_into_what_is_desired(old: Desired, new: Desired) -> None:
    running, wanted = layout(old), layout(new)
    assert applied(running, plan(running, wanted)) == wanted


@given(desireds(), desireds())
def test_what_is_the_same_in_both_is_in_no_plan(old: Desired, new: Desired) -> None:
    running, wanted = layout(old), layout(new)
    steps = plan(running, wanted)
    touched = {spec.name for spec in (*steps.starts, *steps.switches)} | set(steps.stops)
    same = {n for n, spec in wanted.pipelines.items() if running.pipelines.get(n) == spec}
    assert not touched & same
    assert not {spec.key for spec in steps.engine_starts} & set(running.engines)
    assert not set(steps.engine_stops) & set(wanted.engines)


@given(desireds())
def test_an_equal_state_needs_nothing(desired: Desired) -> None:
    assert plan(layout(desired), layout(desired)).empty


BASE: dict[str, Any] = {
    "models": {"m": {"digest": digest(1)}},
    "cameras": {"c": {"source": "rtsp://a/b"}},
    "workflows": {"w": {"digest": digest(9)}},
    "pipelines": {"p": {"camera": "c", "workflow": "w", "models": {"x": "m"}}},
}


def test_a_new_model_switches_the_pipeline_and_keeps_its_process() -> None:
    new = {**BASE, "models": {"m": {"digest": digest(2)}}}
    steps = plan(layout(build(BASE)), layout(build(new)))
    assert [spec.name for spec in steps.switches] == ["p"]
    assert not steps.starts
    assert (len(steps.engine_starts), len(steps.engine_stops)) == (1, 1)


def test_another_source_starts_the_pipeline_anew() -> None:
    new = {**BASE, "cameras": {"c": {"source": "rtsp://a/other"}}}
    steps = plan(layout(build(BASE)), layout(build(new)))
    assert [spec.name for spec in steps.starts] == ["p"]
    assert not steps.engine_starts


def test_equal_models_share_an_engine_and_groups_share_a_process() -> None:
    same = {**BASE, "models": {"m": {"digest": digest(1)}, "n": {"digest": digest(1)}}}
    assert len(layout(build(same)).engines) == 1
    group = {"engine_group": "g"}
    grouped = {**BASE, "models": {"m": {"digest": digest(1), **group}, "n": {"digest": digest(2), **group}}}
    (engine,) = layout(build(grouped)).engines.values()
    assert engine.digests == (digest(1), digest(2))


def test_a_group_with_mixed_options_is_refused() -> None:
    group = {"engine_group": "g"}
    mixed = {
        **BASE,
        "models": {
            "m": {"digest": digest(1), **group},
            "n": {"digest": digest(2), "engine": {"threads": 3}, **group},
        },
    }
    with pytest.raises(UpdateRefused, match="different engine options"):
        layout(build(mixed))


@pytest.mark.parametrize(
    ("source", "pace"),
    [("/v.mp4", "realtime"), ("rtsp://a/b", "live"), ("0", "live"), ("/dev/video0", "live")],
)
def test_the_pace_is_resolved_from_the_source(source: str, pace: str) -> None:
    made = layout(build({**BASE, "cameras": {"c": {"source": source}}}))
    assert made.pipelines["p"].camera.pace == pace
