"""The ages of stored messages."""

from __future__ import annotations

from fleet.lags import BOUNDS_S, Lags, quantile


def test_each_age_is_in_one_bucket_and_clocks_ahead_in_the_first() -> None:
    lags = Lags()
    lags.add([-3.0, 0.02, 0.021, 59.0, 61.0])
    assert sum(lags.counts) == 5
    assert lags.counts[0] == 2
    assert lags.counts[1] == 1
    assert lags.counts[-1] == 1


def test_quantile_is_the_bound_below_which_the_share_lies() -> None:
    lags = Lags()
    lags.add([0.01] * 98 + [0.95, 100.0])
    assert quantile(lags.counts, 0.5) == BOUNDS_S[0]
    assert quantile(lags.counts, 0.99) == 1.0
    assert quantile(lags.counts, 1.0) == float("inf")
    assert quantile([0] * (len(BOUNDS_S) + 1), 0.99) is None
