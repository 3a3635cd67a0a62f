"""A second engine looks at some pictures, and is never in the way."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from runtime.model.engine import Done
from runtime.pipeline.compare import ANSWER_S, Aside, Comparison
from runtime.pipeline.likeness import LikenessBook
from runtime.results import Answer, NoAnswer, Result
from wire import local
from wire.reasons import Reason

IMAGE = np.zeros((48, 64, 3), np.uint8)
ORDER = local.Compare("t", {"m": local.ModelBinding("n", "sha256:0", "/s")}, per_s=1.0, frames=2, for_s=60.0)


def person(score: float = 0.9, x: float = 0.0) -> Result:
    return Result((64, 48), ("person",), np.float32([[x, 0, x + 20, 40]]), np.float32([score]), np.int32([0]))


NOTHING = Result((64, 48), ("person",))


class Late:
    """A request that is never answered."""

    def ready(self) -> bool:
        return False

    def wait(self, timeout_s: float) -> list[Answer]:
        return [NoAnswer(Reason.ENGINE_TIMEOUT)]


class Engine:
    attached = True
    problem = ""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.asked = 0
        self.closed = False
        self.spec = cast("Any", type("Spec", (), {"task": type("Task", (), {"value": "detection"})}))

    def submit(self, images: Any) -> Any:
        self.asked += 1
        return Late() if self.answer is None else Done((self.answer,))

    def close(self) -> None:
        self.closed = True


def made(engine: Engine) -> Comparison:
    return Comparison(ORDER, lambda _model: cast("Any", engine), 0.0)


def test_at_most_so_many_a_second_and_none_while_a_frame_waits() -> None:
    engine = Engine(person())
    comparison = made(engine)
    comparison.offer(IMAGE, {"m": person()}, 0.0, idle=False)
    assert engine.asked == 0
    for at_mono in (0.1, 0.2, 0.9):
        comparison.offer(IMAGE, {"m": person()}, at_mono, idle=True)
        comparison.take(at_mono)
    assert engine.asked == 1
    comparison.offer(IMAGE, {"m": person()}, 1.2, idle=True)
    comparison.take(1.2)
    told = comparison.told(1.2, done=True)
    assert told is not None
    assert (engine.asked, told.models["m"].compared, told.passed_over) == (2, 2, 1)
    assert comparison.over(1.2)


def test_an_engine_that_does_not_answer_is_counted_and_asked_no_second_time_meanwhile() -> None:
    engine = Engine(None)
    comparison = made(engine)
    comparison.offer(IMAGE, {"m": person()}, 0.0, idle=True)
    comparison.offer(IMAGE, {"m": person()}, 3.0, idle=True)
    comparison.take(3.0)
    assert (engine.asked, comparison.busy) == (1, True)
    comparison.take(ANSWER_S + 0.1)
    told = comparison.told(9.0, done=True)
    assert told is not None
    assert told.models["m"].unanswered == {"engine-timeout": 1}


def test_a_new_order_ends_the_one_before_with_its_last_figures() -> None:
    engine = Engine(person())
    aside = Aside(lambda _model: cast("Any", engine))
    aside.order(ORDER, 0.0)
    aside.offer(IMAGE, {"m": person()}, 0.0, idle=True)
    assert aside.shared_machine(0.0)
    aside.turn(0.01)
    aside.end(0.02, "another")
    assert aside.engines
    aside.order(ORDER, 0.02)
    (last,) = aside.turn(0.02)[:1]
    assert last.done
    assert last.models["m"].compared == 1
    assert not aside.shared_machine(0.02)


def test_what_one_sees_for_sure_and_the_other_not_at_all() -> None:
    book = LikenessBook("detection")
    for live, other in (
        (person(), NOTHING),
        (person(), NOTHING),
        (person(0.3), NOTHING),
        (NOTHING, person()),
    ):
        book.add(live, other, 0.01)
    told = book.told()
    assert (told.compared, told.live_sure, told.other_blank, told.blank_run) == (4, 2, 2, 2)
    assert (told.other_sure, told.live_blank, told.matched) == (1, 1, 0)


def test_the_same_object_is_matched_and_the_second_less_the_first_is_told() -> None:
    book = LikenessBook("detection")
    book.add(person(0.9), person(0.6, x=2.0), 0.01)
    told = book.told()
    assert (told.matched, told.live_objects, told.other_objects) == (1, 1, 1)
    assert told.score_sum == pytest.approx(-0.3, abs=1e-3)
    assert told.iou_sum == pytest.approx(18 / 22, abs=1e-3)
    assert (sum(told.live_scores), told.other_classes) == (1, {"person": 1})


def test_keypoints_a_little_off_are_nearly_the_same_and_far_off_not() -> None:
    def pose(x: float) -> Result:
        points = np.float32([[[x, 5, 0.9], [x, 30, 0.9]]])
        return Result(
            (64, 48), ("person",), np.float32([[0, 0, 20, 40]]), np.float32([0.9]), np.int32([0]), keypoints=points
        )  # fmt: skip

    near, far = LikenessBook("keypoints"), LikenessBook("keypoints")
    near.add(pose(10), pose(10.5), 0.01)
    far.add(pose(10), pose(40), 0.01)
    assert near.told().oks_sum > 0.95
    assert far.told().oks_sum < 0.05


def test_classes_of_the_whole_picture_agree_or_not() -> None:
    book = LikenessBook("classification")
    for live, other in (([0.9, 0.1], [0.6, 0.4]), ([0.9, 0.1], [0.2, 0.8])):
        book.add(*(Result((9, 9), ("a", "b"), classes=np.float32(c)) for c in (live, other)), 0.01)
    assert (book.told().same_sum, book.told().same_count) == (1.0, 2)
