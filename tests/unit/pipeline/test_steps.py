from __future__ import annotations

from runtime.pipeline.steps import MAX_TOLD, WINDOW_S, StepBook


def test_times_are_those_of_the_last_windows_and_counters_grow() -> None:
    book = StepBook(0.0)
    book.add({"a": 100.0}, [], 1.0)
    book.add({"a": 300.0}, ["a", "$inputs.image"], 2.0)
    told = book.stats()["a"]
    assert (told.runs, told.errors, told.mean_us, told.max_us) == (2, 1, 200.0, 300.0)
    book.add({"a": 10.0}, [], WINDOW_S)
    book.add({"a": 20.0}, [], 2 * WINDOW_S)
    told = book.stats()["a"]
    assert (told.runs, told.mean_us, told.max_us) == (4, 15.0, 20.0)


def test_only_the_slowest_steps_are_told() -> None:
    book = StepBook(0.0)
    book.add({f"s{i}": float(i) for i in range(MAX_TOLD + 9)}, [], 1.0)
    assert len(book.stats()) == MAX_TOLD
    assert "s0" not in book.stats()


def test_steps_of_the_former_workflow_are_forgotten() -> None:
    book = StepBook(0.0)
    book.add({"a": 1.0, "b": 1.0}, [], 1.0)
    book.keep(["b", "c"])
    assert list(book.stats()) == ["b"]
