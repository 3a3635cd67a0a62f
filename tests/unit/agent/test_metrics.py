from __future__ import annotations

from agent.api.metrics import text
from agent.blindness import CameraLedger, LastHour
from tests.unit.agent.test_blindness import stats, watched
from wire.health import BlindNow, CameraFault, CameraHealth, Health, Host
from wire.reasons import Reason

HOST = Host(
    uptime_s=1, cpu_percent=2, cpu_count=1, load_1m=0, memory_total_bytes=1, memory_available_bytes=1,
    disk_total_bytes=1, disk_free_bytes=1,
)  # fmt: skip


def test_blind_time_that_is_still_open_counts() -> None:
    camera = CameraHealth(
        state="streaming",
        pipeline="p",
        blind_s={"camera-lost": 2.0},
        blind_now=BlindNow(cause="camera-lost", for_s=0.5),
        faults=(CameraFault(reason="picture-frozen"),),
    )
    page = text(Health(revision=3, agent_uptime_s=1, host=HOST, cameras={'a"b': camera}), connected=True)
    assert 'outrider_camera_blind_seconds_total{camera="a\\"b",cause="camera-lost"} 2.5\n' in page
    assert 'outrider_camera_fault{camera="a\\"b",reason="picture-frozen"} 1\n' in page
    assert "# TYPE outrider_camera_blind_seconds_total counter\n" in page
    assert "temperature" not in page, "what the host does not tell is not there"
    for line in page.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0.0


def test_the_last_hour_forgets_what_is_older() -> None:
    ledger, hour = CameraLedger(0.0), LastHour()
    ledger.told(watched(1.0, 10.0))
    hour.read(ledger, 10.0)
    ledger.process_ended(Reason.PIPELINE_DOWN, 10.0)
    assert hour.read(ledger, 40.0) == {"pipeline-down": 30.0}
    ledger.told(watched(40.0, 41.0))
    for minute in range(1, 62):
        last = hour.read(ledger, 40.0 + 60.0 * minute)
    assert last == {}
    assert ledger.totals().blind_s["pipeline-down"] == 30.0


def test_a_camera_off_by_plan_is_not_blind() -> None:
    ledger = CameraLedger(100.0)
    ledger.told(stats(blind_cause="camera-unreachable", blind_since_mono=100.0))
    ledger.told(stats(off_since_mono=110.0))
    assert ledger.totals().blind_s == {"camera-unreachable": 10.0}
    assert ledger.blind_now(200.0) is None
    ledger.process_ended(Reason.PIPELINE_DOWN, 300.0)
    assert ledger.blind_now(301.0) == ("pipeline-down", 1.0)


def test_a_process_that_dies_while_its_picture_is_frozen_was_blind_since_the_freeze() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 50.0, blind_cause="picture-frozen", blind_since_mono=20.0))
    ledger.process_ended(Reason.PIPELINE_DOWN, 51.0)
    ledger.told(watched(55.0, 56.0))
    assert ledger.totals().blind_s == {"starting": 1.0, "picture-frozen": 35.0}
