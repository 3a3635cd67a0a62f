"""Whose tensor runs next."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runtime.model.batch import FairQueue


def test_pipelines_take_turns_however_much_one_asks() -> None:
    queue: FairQueue[str, str, int] = FairQueue()
    for crop in range(100):
        queue.put("m", "crops", crop)
    queue.put("m", "frame", 0)
    assert queue.take(1) == [("crops", 0)]
    assert queue.take(1) == [("frame", 0)]
    assert queue.take(2) == [("crops", 1), ("crops", 2)]


def test_a_batch_is_gathered_across_pipelines() -> None:
    queue: FairQueue[str, str, int] = FairQueue()
    for pipeline in "abc":
        for item in range(2):
            queue.put("m", pipeline, item)
    assert queue.take(4) == [("a", 0), ("b", 0), ("c", 0), ("a", 1)]
    assert queue.take(4) == [("b", 1), ("c", 1)]
    assert queue.take(4) == []


def test_models_take_turns() -> None:
    queue: FairQueue[str, str, int] = FairQueue()
    for item in range(3):
        queue.put("large", "a", item)
    queue.put("small", "a", 9)
    turns = []
    while (model := queue.next_model()) is not None:
        turns.append((model, *(item for _, item in queue.take(1))))
    assert turns == [("large", 0), ("small", 9), ("large", 1), ("large", 2)]


def test_what_a_gone_pipeline_asked_is_forgotten() -> None:
    queue: FairQueue[str, str, int] = FairQueue()
    queue.put("m", "gone", 1)
    queue.put("m", "there", 2)
    assert queue.drop("m", "gone") == [1]
    assert queue.drop("m", "gone") == []
    assert queue.peek() == 2
    assert queue.take(8) == [("there", 2)]
    assert queue.drop("m", "there") == []
    assert queue.peek() is None


@given(
    st.lists(st.tuples(st.sampled_from("mn"), st.sampled_from("abcd")), max_size=40),
    st.lists(st.integers(1, 6), min_size=60, max_size=60),
)
def test_everything_comes_out_once_in_order_and_nobody_is_passed_over(
    asked: list[tuple[str, str]], limits: list[int]
) -> None:
    queue: FairQueue[str, str, int] = FairQueue()
    for number, (model, pipeline) in enumerate(asked):
        queue.put(model, pipeline, number)
    out: list[tuple[str, str, int]] = []
    for limit in limits:
        model = queue.next_model()
        if model is None:
            break
        waiting = {p for n, (m, p) in enumerate(asked) if m == model and n not in {i for *_, i in out}}
        taken = queue.take(limit)
        served = Counter(pipeline for pipeline, _ in taken)
        assert 1 <= len(taken) <= limit
        assert len(served) == min(limit, len(waiting)), "one each before a second for anybody"
        out += [(model, pipeline, item) for pipeline, item in taken]
    assert sorted(item for *_, item in out) == list(range(len(asked)))
    assert len(queue) == 0
    for key in set(asked):
        numbers = [item for model, pipeline, item in out if (model, pipeline) == key]
        assert numbers == sorted(numbers)
