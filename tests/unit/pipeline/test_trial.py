"""Trials: what is kept of a long clip, and what its sinks do."""

from __future__ import annotations

import time

from runtime.pipeline.trial import MAX_KEPT, NOT_SENT, _Tally, withheld
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome


def test_long_clip_is_told_by_frames_that_are_evenly_spread() -> None:
    tally, pictures = _Tally(), set()
    for number in range(1000):
        due = tally.is_due
        tally.add(Outcome())
        if due:
            pictures.add(f"{number}.jpg")
            pictures -= set(tally.keep({"frame": number, "picture": f"{number}.jpg"}))
    kept = [entry["frame"] for entry in tally.kept]
    assert kept == list(range(0, 1000, tally.stride))
    assert MAX_KEPT / 2 <= len(kept) <= MAX_KEPT
    assert pictures == {entry["picture"] for entry in tally.kept}


def test_sinks_are_replaced_and_the_rest_is_not() -> None:
    graph = compile_definition(
        {
            "version": "1.0",
            "inputs": [{"type": "WorkflowParameter", "name": "words", "default_value": "hello"}],
            "steps": [
                {
                    "type": "roboflow_core/property_definition@v1",
                    "name": "long",
                    "data": "$inputs.words",
                    "operations": [{"type": "SequenceLength"}],
                },
                {
                    "type": "roboflow_core/webhook_sink@v1",
                    "name": "post",
                    "url": "http://127.0.0.1:9",
                    "method": "POST",
                },
                {
                    "type": "outrider/mqtt_publish@v1",
                    "name": "tell",
                    "topic": "a",
                    "data": {"words": "$inputs.words"},
                },
            ],
            "outputs": [
                {"type": "JsonField", "name": name, "selector": f"$steps.{name}.{output}"}
                for name, output in (("long", "output"), ("post", "message"), ("tell", "error_status"))
            ],
        }
    )
    silent, names = withheld(graph)
    assert names == ("post", "tell")
    outcome = Executor(silent, {}, Surroundings(time.time, time.monotonic)).run({})
    assert outcome.errors == {}
    assert outcome.outputs == [{"long": 5, "post": NOT_SENT, "tell": False}]
