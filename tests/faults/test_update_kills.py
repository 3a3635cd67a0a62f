"""SIGKILL of the update executor at random moments, as a process of its own."""

from __future__ import annotations

import os
import random

import pytest

from benchmarks.device_kills import kill_devices
from benchmarks.executor_kills import kill_executors
from tests.fakes.mosquitto import PROGRAM

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


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_killed_devices_come_back_lose_no_event_and_roll_back_without_a_network() -> None:
    seed = int(os.environ.get("OUTRIDER_SEED") or random.SystemRandom().randrange(2**31))
    print(f"seed {seed}; OUTRIDER_SEED={seed} plays it again")
    done = kill_devices(20, seed)
    assert done.kills == 20
    assert not done.broken, "\n".join(done.broken[:5])
    assert (done.lost, done.events > 0) == (0, True)
    assert done.rollback_s is not None
