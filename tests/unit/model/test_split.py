"""How processors are split between runs: what is tried, what is chosen, what is kept."""

import itertools

import numpy as np
import pytest

from runtime.model.split import (
    ROUNDS,
    Book,
    Choice,
    Measured,
    Split,
    best,
    book,
    candidates,
    key,
    machine,
    measure,
)

BATCH = np.zeros((1, 3, 2, 2), np.uint8)
ONE_BY_ONE, TWO_BY_TWO, SIDE_BY_SIDE = Split(2, 1), Split(2, 2), Split(1, 2)


def measured(split, per_s, lone_ms, wobble=1.0):
    rates = tuple(per_s * (wobble if i == 0 else 1) for i in range(ROUNDS))
    return Measured(split, rates, lone_ms)


class Clock:
    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


class Graph:
    """Takes a fixed time."""

    def __init__(self, clock, run_s):
        self.clock, self.run_s, self.runs, self.closed = clock, run_s, 0, False

    def run(self, batch):
        self.runs += 1
        self.clock.at += self.run_s


def test_what_is_tried_by_number_of_processors():
    assert candidates(1) == (Split(1, 1),)
    assert candidates(2) == (ONE_BY_ONE, TWO_BY_TWO, SIDE_BY_SIDE)
    assert candidates(8) == (Split(8, 1), Split(8, 2), Split(4, 2), Split(2, 4))


def test_a_split_that_serves_more_in_every_round_is_taken():
    figures = [
        measured(ONE_BY_ONE, 78, 11),
        measured(TWO_BY_TWO, 125, 11),
        measured(SIDE_BY_SIDE, 154, 12),
    ]
    assert best(figures, TWO_BY_TWO) == SIDE_BY_SIDE
    assert best(figures[:2], TWO_BY_TWO) == TWO_BY_TWO


def test_one_lucky_round_or_little_more_changes_nothing():
    now = measured(TWO_BY_TWO, 100, 10)
    assert best([now, measured(SIDE_BY_SIDE, 104, 10)], TWO_BY_TWO) == TWO_BY_TWO
    assert best([now, measured(SIDE_BY_SIDE, 130, 10, wobble=0.7)], TWO_BY_TWO) == TWO_BY_TWO


def test_a_lone_picture_must_not_wait_twice_as_long():
    assert best([measured(ONE_BY_ONE, 5, 180), measured(SIDE_BY_SIDE, 9, 360)], ONE_BY_ONE) == ONE_BY_ONE


def test_every_split_is_opened_measured_and_closed():
    clock = Clock()
    opened = {}

    def open_split(split):
        opened[split] = Graph(clock, 0.01 * split.threads)
        return opened[split]

    def close(graph):
        graph.closed = True

    splits = (Split(1, 1), Split(2, 1))
    figures = measure(Graph(clock, 0.01), open_split, close, BATCH, splits, 2.0, clock)
    assert [m.split for m in figures] == list(splits)
    assert figures[0].per_s == pytest.approx(100, rel=0.1)
    assert figures[1].lone_ms == pytest.approx(20)
    assert all(graph.closed for graph in opened.values())
    assert clock.at <= 2.5


def test_a_graph_that_takes_long_is_not_tried_and_nothing_is_opened():
    clock = Clock()
    opened = []
    figures = measure(Graph(clock, 0.5), opened.append, opened.append, BATCH, candidates(2), 1.0, clock)
    assert figures == ()
    assert opened == []


def test_choices_are_kept_and_damaged_ones_are_none(tmp_path):
    kept = book(tmp_path)
    choice = Choice(SIDE_BY_SIDE, (measured(SIDE_BY_SIDE, 154, 12),))
    kept.write("k", "yolox", choice)
    assert Book(tmp_path / "threads").read("k") == choice
    assert kept.entries() == [("yolox", choice)]
    for content in (
        "",
        "{}",
        '{"split": {"threads": 0, "runs": 1}, "measured": []}',
        '{"split": 7, "measured": []}',
    ):
        (tmp_path / "threads" / "k.json").write_text(content)
        assert kept.read("k") is None
    assert kept.read("other") is None


def test_figures_that_other_load_has_made_are_not_steady():
    assert Choice(None, (measured(ONE_BY_ONE, 100, 10),)).steady
    assert not Choice(None, (measured(ONE_BY_ONE, 100, 10, wobble=0.5),)).steady


def test_graph_engine_precision_and_machine_each_make_another_key(tmp_path):
    keys = [key("g", "auto", "fp32", 2), key("h", "auto", "fp32", 2), key("g", "openvino", "fp32", 2)]
    keys += [key("g", "auto", "bf16", 2), key("g", "auto", "fp32", 4)]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name : A\n")
    first = machine(info)
    info.write_text("processor : 0\nmodel name : B\n")
    assert machine(info) != first
    assert machine(tmp_path / "none")
