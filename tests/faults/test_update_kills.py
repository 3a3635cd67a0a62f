"""SIGKILL of the update executor at random moments, as a process of its own."""

from __future__ import annotations

import os
import random

import pytest

from benchmarks.executor_kills import kill_executors

pytestmark = pytest.mark.timeout(600)

PHASES_SEEN = 6


@pytest.mark.parametrize(("kills", "forked"), [(40, False), (260, True)], ids=["started", "forked"])
def test_killed_executors_break_nothing(kills: int, forked: bool) -> None:
    seed = int(os.environ.get("OUTRIDER_SEED") or random.SystemRandom().randrange(2**31))
    print(f"seed {seed}; OUTRIDER_SEED={seed} plays it again")
    done = kill_executors(kills, seed, forked=forked)
    assert done.kills == kills
    assert not done.broken, "\n".join(done.broken[:5])
    if forked:
        assert len(done.where) >= PHASES_SEEN, done.where
