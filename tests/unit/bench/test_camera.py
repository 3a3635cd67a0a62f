"""How one camera of a benchmark asks, and what is refused before anything runs."""

import pytest

from runtime.bench.camera import drive
from runtime.bench.plan import Plan
from runtime.errors import Refused
from runtime.model.engine import Done
from runtime.results import NoAnswer, Result
from wire.reasons import Reason


class Engine:
    """Answers at once; the request number `fails_at` gets no answer."""

    def __init__(self, fails_at=None):
        self.asked = 0
        self._fails_at = fails_at

    def submit(self, images):
        self.asked += 1
        if self.asked == self._fails_at:
            return Done(tuple(NoAnswer(Reason.ENGINE_DOWN, "gone") for _ in images))
        return Done(tuple(Result((1, 1)) for _ in images))


def test_every_image_of_a_request_counts():
    told = drive(Engine(), ["picture"] * 4, in_flight=2, seconds=0.005)
    assert told["answered"] == 4 * len(told["latencies_ms"])
    assert told["unanswered"] == 0


def test_a_dead_engine_ends_the_measurement():
    engine = Engine(fails_at=3)
    told = drive(engine, ["picture"], in_flight=1, seconds=60.0)
    assert engine.asked == 3
    assert told["unanswered"] == 1
    assert told["cause"] == "engine-down: gone"


def test_everything_wrong_with_a_plan_is_told_together():
    with pytest.raises(Refused) as refused:
        Plan(batches=(0,), cameras=(1000,), seconds=0)
    assert [problem.path for problem in refused.value.problems] == ["batches", "cameras", "seconds"]
