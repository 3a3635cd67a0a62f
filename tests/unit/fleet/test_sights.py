"""What models saw adds up day by day, over restarts and swaps; drift is told where enough was seen; versions are compared."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleet.db import Database
from fleet.health.buckets import DAY_S
from fleet.health.census import Census
from fleet.health.drifts import Drifts
from fleet.health.sights import next_day
from fleet.health.tables import Signs
from fleet.tables import Device, StoredObject, Version
from tests.unit.fleet.conftest import StillClock

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def document(
    asked: int, scores: list[int], classes: dict[str, int], digest: str = ONE, brightness: float = 0.5
) -> dict[str, Any]:
    sight = {"asked": asked, "empty": asked // 10, "scores": scores, "classes": classes}
    camera = {"models": {"any/1": digest}, "sight": sight, "brightness": brightness}
    model = {"digest": digest, "requests": asked, "errors": asked // 20, "restarts": 0, "infer_p95_ms": 10.0}
    return {"cameras": {"door": camera}, "models": {"people": model}}


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 50), st.booleans(), st.booleans(), st.sampled_from([ONE, TWO])), max_size=20
    )
)
def test_what_was_seen_is_counted_once_over_days_restarts_and_swaps(
    steps: list[tuple[int, bool, bool, str]],
) -> None:
    total, counted, digest_before = 0, 0, None
    before: dict[str, Any] | None = None
    kept: list[dict[str, Any]] = []
    for grown, restarted, new_day, digest in steps:
        if restarted or digest != digest_before:
            counted = 0
            grown = 0  # so that the restart is seen by a counter that has fallen, or by nothing
        counted, total, digest_before = counted + grown, total + grown, digest
        if before is not None and new_day:
            kept.append(before)
        before = next_day(before, not new_day, document(counted, [0, counted], {"person": counted}, digest))
    kept += [before] if before is not None else []
    parts = [part for day in kept for part in day["cameras"].get("door", {}).values()]
    assert sum(part["asked"] for part in parts) == total
    assert sum(part["scores"][1] for part in parts) == total
    assert sum(part["classes"].get("person", 0) for part in parts) == total
    assert sum(model["requests"] for day in kept for model in day["models"].values()) == total


def test_drift_is_a_fault_and_versions_are_compared(database: Database, clock: StillClock) -> None:
    census = Census(database, clock, lambda: True, lambda _session: None)
    drifts = Drifts(database, clock)
    with database.write() as session:
        for name in ("a", "b"):
            session.add(
                Device(id=name, created_at=0, enrolled_at=0, labels={}, token_hash=name, broker_hash="")
            )
        for version, digest in ((1, ONE), (2, TWO)):
            session.add(StoredObject(digest=digest, size_bytes=1, created_at=0))
            session.flush()
            session.add(
                Version(
                    kind="model", name="yolox", version=version, digest=digest, size_bytes=1, card={},
                    created_at=0, created_by="test",
                )
            )  # fmt: skip

    def tell(name: str, health: dict[str, Any]) -> None:
        clock.now_wall += 1
        with database.write() as session:
            device = session.get(Device, name)
            assert device is not None
            device.health, device.health_at = health, clock.now_wall
        clock.now_wall += 1
        census.look(True)

    tell("a", document(1000, [0, 0, 500, 500], {"person": 1000}, brightness=0.6))
    tell("b", document(400, [0, 0, 200, 200], {"person": 400}, TWO))
    clock.now_wall += 3 * DAY_S
    tell("a", document(2000, [0, 0, 1000, 1000], {"person": 2000}, brightness=0.4))
    drift = drifts.drift("a", 2, 14)["door"]
    assert drift.worst == 0.0
    assert (drift.reference.brightness, drift.recent.brightness) == (0.6, 0.4)
    tell("a", document(3000, [900, 100, 1000, 1000], {"person": 2100, "dog": 900}))
    drift = drifts.drift("a", 2, 14)["door"]
    assert drift.scores is not None
    assert drift.scores > 0.25
    assert drift.classes is not None
    assert drift.classes > 0.25
    assert drift.recent.confidence is not None
    assert drift.reference.confidence == 0.75
    assert drift.recent.confidence < 0.6
    with database.read() as session:
        signs = session.get(Signs, ("a", "drift"))
        assert signs is not None
        assert [(row[0], row[1], row[2]) for row in signs.signs] == [("drift-large", "door", "on")]
    (worst, *_) = drifts.worst((1e14, "~", "~"), 10, None)
    assert (worst.device, worst.camera) == ("a", "door")
    assert [row.device for row in drifts.worst((1e14, "~", "~"), 10, {"b"})] == ["b"]

    newest, oldest = drifts.versions("yolox", 10, None)
    assert (newest.version, newest.figures.devices, newest.figures.requests) == (2, 1, 400)
    assert (oldest.version, oldest.figures.cameras, oldest.figures.sight.asked) == (1, 1, 3000)
    assert oldest.figures.errors / oldest.figures.requests == 0.05
    assert drifts.versions("yolox", 10, {"b"}) == [newest]
    clock.now_wall += 30 * DAY_S
    assert census.forget_old(20) == 3
