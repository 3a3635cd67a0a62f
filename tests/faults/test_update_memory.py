"""Updates on a device whose memory holds one engine and not two: real agent, broker, engine and pipeline, a real video at live pace.

The limit is the device's own (`limits.engines_bytes`). Two engines are never there at once; the gap is what the loading takes, and is told.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.mosquitto import PROGRAM
from tests.faults.device_stand import VIDEO, DeviceStand, at_work

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(300),
    pytest.mark.long,
]
ENGINES_BYTES = 160 * 1024 * 1024
LOAD_S = 60.0
"""What a load may take on a machine that others use too."""


@pytest.fixture(scope="module")
def stand(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path], assets: Path
) -> Iterator[DeviceStand]:
    directory = tmp_path_factory.mktemp("memory")
    with at_work(directory, packages["nanodet_m_320"], assets / VIDEO, engines_bytes=ENGINES_BYTES) as stand:
        yield stand


class MostEngines:
    """How many engine processes there were at once, at most."""

    def __init__(self, stand: DeviceStand) -> None:
        self._stand = stand
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def __enter__(self) -> MostEngines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, len(self._stand.made.children("runtime.model.process")))


def test_a_revision_that_may_not_stop_what_serves_is_refused_without_a_gap(stand: DeviceStand) -> None:
    stand.push(stand.model("beside"), stop_then_load=False)
    reported = stand.ended("REJECTED", reason="out-of-memory", pause_s=1.5)
    assert "beside what runs" in reported["message"]


def test_the_former_engine_ends_before_the_new_one_loads_and_the_gap_is_told(stand: DeviceStand) -> None:
    with MostEngines(stand) as engines:
        stand.push(stand.model("in its place"))
        reported = stand.ended("COMMITTED", lost=int(10 * LOAD_S), pause_s=LOAD_S)
    assert engines.most == 1
    told = reported["update"]["phases"]["swapping"]
    assert 0 < told["stop_then_load"]["gap_s"] < LOAD_S
    (swap,) = reported["swaps"]
    assert swap["frames_lost"] > 0
    assert swap["gap_ms"] >= 1000 * told["stop_then_load"]["gap_s"] - 1000
    assert stand.account().lost <= swap["frames_lost"] + 10
    assert "blind" in reported["update"]["phases"]["verified"]["note"]


def test_where_the_new_engine_does_not_load_the_former_one_is_loaded_again(stand: DeviceStand) -> None:
    model = stand.model("does not load", {"crash_at": 0})
    with MostEngines(stand) as engines:
        stand.push(model)
        reported = stand.ended(
            "ROLLED_BACK",
            reason="engine-down",
            lost=int(20 * LOAD_S),
            pause_s=2 * LOAD_S,
            rollback_s=LOAD_S,
        )
    assert engines.most == 1
    assert model in reported["update"]["quarantined"]
