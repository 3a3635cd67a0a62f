import numpy as np

from runtime.model.golden import compare
from runtime.model.spec import GoldenSpec
from runtime.results import Result

GOLDEN = GoldenSpec(box_tolerance=0.01, score_tolerance=0.02)
THRESHOLD = 0.5


def result(*rows):
    """Rows of x1, y1, x2, y2, score, class; on a picture of 100 x 100."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Result(
        (100, 100), ("cat", "dog"), table[:, :4], table[:, 4], table[:, 5].astype(np.int32)
    )  # fmt: skip


PROMISE = result((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1), (5, 5, 9, 9, 0.49, 0))


def against(*rows):
    return compare(PROMISE, result(*rows), GOLDEN, THRESHOLD)


def test_the_same_result_holds():
    figures = against((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1))
    assert figures.holds
    assert (figures.expected, figures.matched, figures.worst_box) == (2, 2, 0.0)


def test_small_differences_hold_and_are_told():
    figures = against((10, 10.5, 50, 50, 0.91, 0), (60, 60, 90, 90, 0.7, 1))
    assert figures.holds
    assert abs(figures.worst_box - 0.005) < 1e-6
    assert abs(figures.worst_score - 0.01) < 1e-6


def test_order_does_not_matter():
    assert against((60, 60, 90, 90, 0.7, 1), (10, 10, 50, 50, 0.9, 0)).holds


def test_a_missing_detection_breaks_it_and_is_named():
    figures = against((10, 10, 50, 50, 0.9, 0))
    assert not figures.holds
    assert "dog 0.70 at [60, 60, 90, 90]" in str(figures)


def test_another_class_breaks_it():
    assert not against((10, 10, 50, 50, 0.9, 1), (60, 60, 90, 90, 0.7, 1)).holds


def test_a_moved_box_breaks_it():
    assert not against((12, 10, 52, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1)).holds


def test_one_detection_does_not_answer_for_two():
    twice = result((10, 10, 50, 50, 0.9, 0), (10, 10, 50, 50, 0.9, 0))
    figures = compare(twice, result((10, 10, 50, 50, 0.9, 0)), GOLDEN, THRESHOLD)
    assert len(figures.missing) == 1


def test_a_score_at_the_threshold_may_fall_on_either_side():
    both = [(10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1)]
    assert against(*both, (5, 5, 9, 9, 0.505, 0)).holds
    at_threshold = result(*both, (5, 5, 9, 9, 0.51, 0))
    assert compare(at_threshold, result(*both), GOLDEN, THRESHOLD).holds


def test_an_extra_detection_well_above_the_threshold_breaks_it():
    assert not against((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1), (0, 0, 30, 30, 0.6, 1)).holds
