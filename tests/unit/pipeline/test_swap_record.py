"""The figures of a swap."""

from __future__ import annotations

from runtime.pipeline.swap import SwapRecord


def test_a_swap_without_a_pause_loses_nothing_and_tells_its_gap() -> None:
    record = SwapRecord("t", 9, 1.0, 3)
    record.result(10, 1.1)
    record.result(11, 1.25)
    figures = record.first_of_new(12, 1.33, 3, 0.1)
    assert (figures.last_frame_old, figures.first_frame_new, figures.frames_lost) == (11, 12, 0)
    assert (figures.gap_ms, figures.longest_gap_ms, figures.frame_period_ms) == (80.0, 150.0, 100.0)


def test_frames_without_a_result_meanwhile_are_lost() -> None:
    record = SwapRecord("t", 9, 1.0, 3)
    assert record.first_of_new(14, 1.5, 7, 0.1).frames_lost == 4
