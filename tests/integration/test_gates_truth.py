"""The gates against planted truth, on a real detector's results on a real video; the whole of it is `benchmarks/gates.py`."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gates
from benchmarks.gates import Stand, planted, swap

pytestmark = pytest.mark.timeout(400)
SEED = 20
SWAPS = 30
EACH = 3
LATENCY_S = 0.02


@pytest.fixture(scope="module")
def stand(packages: dict[str, Path], assets: Path) -> Stand:
    """Results as they are; latencies without what else the machine did meanwhile: 20 ms, give or take a tenth."""
    recording = gates.record(packages["nanodet_m_320"], assets / "video" / "one-by-one-person-detection.mp4")
    rng = random.Random(SEED)
    shots = [
        replace(shot, latency_s=LATENCY_S * rng.uniform(0.9, 1.1), cpu_s=0.0, again_s=0.0)
        for shot in recording.shots
    ]
    return Stand(replace(recording, shots=shots, foreign_cpu=0.0), rng)


@pytest.mark.parametrize("witness", [True, False])
def test_an_identical_model_is_not_sent_back(stand: Stand, witness: bool) -> None:
    rng = random.Random(SEED)
    outcomes = [swap(stand, rng, None, witness=witness) for _ in range(SWAPS)]
    assert [outcome.gate for outcome in outcomes if outcome.gate] == []


@pytest.mark.parametrize(
    ("fault", "gate", "frames"),
    [
        ("finds nothing", "empty-output", 300),
        ("latency doubled", "latency", 250),
        ("40 % slower", "latency", 300),
        ("not a number", "inference-errors", 40),
        ("confidence shifted", "confidence", 300),
        ("crash at frame 100", "engine-restarts", 100),
        ("leaks 1 MiB a frame", "memory", 150),
    ],
)
def test_each_planted_fault_is_caught_by_its_gate_within_so_many_frames(
    stand: Stand, fault: str, gate: str, frames: int
) -> None:
    rng = random.Random(SEED)
    for _ in range(EACH):
        outcome = swap(stand, rng, **planted(stand.recording)[fault], witness=True)
        assert outcome.gate == gate
        assert outcome.frame <= frames
