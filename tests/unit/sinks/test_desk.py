"""The desk: a far end that hangs or fails holds up its own sink only, and the end has a deadline."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest

from runtime.sinks.desk import MAX_THREADS, Desk
from runtime.sinks.lane import Limits
from runtime.sinks.sender import Calling, Undelivered

QUICK = Limits(max_waiting=4, max_attempts=3, retry_min_s=0.01, retry_max_s=0.02)
WAIT_S = 5.0


def fail(_body: Any) -> None:
    raise Undelivered("the far end is down")


def test_parcels_of_one_sink_arrive_in_order() -> None:
    desk, got = Desk(), []
    counter = desk.open("s", QUICK, Calling(got.append))
    receipts = [desk.deliver(counter, number, 1) for number in range(4)]
    assert all(receipt.done.wait(WAIT_S) for receipt in receipts)
    assert got == [0, 1, 2, 3]
    assert desk.close(1.0) == {}


def test_a_sink_that_hangs_does_not_hold_up_the_others() -> None:
    desk, release = Desk(), threading.Event()
    stuck = desk.open("stuck", QUICK, Calling(lambda _: release.wait(WAIT_S)))
    good = desk.open("good", QUICK, Calling(lambda body: body))
    started = time.monotonic()
    desk.deliver(stuck, 0, 1)
    assert desk.deliver(good, "x", 1).done.wait(WAIT_S)
    assert time.monotonic() - started < WAIT_S / 2
    dropped = [desk.deliver(stuck, number, 1) for number in range(10)]
    assert sum(receipt.done.is_set() for receipt in dropped) == 7
    assert desk.figures()["stuck"].dropped == 7
    release.set()


def test_a_failure_is_repeated_then_counted_as_dead_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    counter = desk.open("s", QUICK, Calling(fail))
    with caplog.at_level(logging.WARNING):
        receipts = [desk.deliver(counter, number, 1) for number in range(2)]
        assert all(receipt.done.wait(WAIT_S) for receipt in receipts)
    figures = desk.figures()["s"]
    assert (figures.dead, figures.retried, figures.delivered, figures.failing) == (2, 4, 0, True)
    assert receipts[0].error == "the far end is down"
    assert [record.getMessage() for record in caplog.records] == ["sink fails: s: the far end is down"]


def test_an_error_shows_no_password(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_body: Any) -> None:
        raise ValueError("cannot reach http://me:hunter2@host/ with token abc123")

    desk = Desk()
    limits = Limits(max_attempts=1)
    counter = desk.open("s", limits, Calling(refuse), lambda text: text.replace("abc123", "***"))
    receipt = desk.deliver(counter, 0, 1)
    assert receipt.done.wait(WAIT_S)
    shown = receipt.error + caplog.text + desk.figures()["s"].error
    assert "hunter2" not in shown
    assert "abc123" not in shown


def test_the_end_waits_no_longer_than_its_deadline() -> None:
    desk, release = Desk(), threading.Event()
    stuck = desk.open("stuck", QUICK, Calling(lambda _: release.wait(60)))
    failing = desk.open("failing", Limits(retry_min_s=30.0), Calling(fail))
    for counter in (stuck, failing):
        desk.deliver(counter, 0, 1)
    time.sleep(0.05)
    started = time.monotonic()
    left = desk.close(0.1)
    assert time.monotonic() - started < 1.0
    assert left == {"stuck": 1, "failing": 1}
    assert desk.deliver(stuck, 1, 1).error == "the process is ending"
    release.set()


def test_the_end_delivers_what_is_due() -> None:
    desk, got = Desk(), []

    def slowly(body: int) -> None:
        time.sleep(0.01)
        got.append(body)

    counter = desk.open("s", QUICK, Calling(slowly))
    for number in range(4):
        desk.deliver(counter, number, 1)
    assert desk.close(WAIT_S) == {}
    assert got == [0, 1, 2, 3]


def test_a_sink_that_leaves_still_delivers_what_it_accepted_and_is_then_let_go() -> None:
    class Far:
        def __init__(self) -> None:
            self.got: list[int] = []
            self.closed = threading.Event()

        def send(self, body: int) -> None:
            time.sleep(0.01)
            self.got.append(body)

        def close(self) -> None:
            self.closed.set()

    desk, far = Desk(), Far()
    counter = desk.open("s", QUICK, far)
    for number in range(3):
        desk.deliver(counter, number, 1)
    desk.shut(counter)
    assert desk.figures() == {}
    assert far.closed.wait(WAIT_S)
    assert far.got == [0, 1, 2]


def test_there_are_never_more_threads_than_allowed() -> None:
    desk, release = Desk(), threading.Event()
    before = threading.active_count()
    for number in range(3 * MAX_THREADS):
        counter = desk.open(f"s{number}", QUICK, Calling(lambda _: release.wait(WAIT_S)))
        desk.deliver(counter, 0, 1)
    assert threading.active_count() - before == MAX_THREADS
    release.set()
    assert desk.close(WAIT_S) == {}
