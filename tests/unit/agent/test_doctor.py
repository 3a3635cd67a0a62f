"""The doctor's looks at machine, service and papers: each fails for the right reason, and is content otherwise."""

from __future__ import annotations

import datetime
import os
from itertools import count
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.doctor import machine, papers, service
from agent.identity import Identity
from wire.enrol import Broker
from wire.health import Accelerator

MIB = 2**20
DAY_S = 86400.0
BORN_WALL = 1_790_000_000.0


def chain(life_days: float = 90.0) -> bytes:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "d1")])
    born = datetime.datetime.fromtimestamp(BORN_WALL, datetime.timezone.utc)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, born, born + datetime.timedelta(life_days)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_memory_that_is_nearly_gone_is_told() -> None:
    assert machine.memory(200 * MIB, 4096 * MIB).state == "warning"
    assert machine.memory(2048 * MIB, 4096 * MIB).state == "ok"


def test_a_full_disk_is_a_fault_since_updates_are_refused(tmp_path: Path) -> None:
    found = machine.disk_space(tmp_path, 1 << 60)
    assert (found.state, "updates are refused" in found.remedy) == ("fault", True)
    assert machine.disk_space(tmp_path / "gone", 1).state == "fault"
    free = machine.shutil.disk_usage(tmp_path).free
    assert machine.disk_space(tmp_path, int(free * 0.75)).state == "warning"
    assert machine.disk_space(tmp_path, 1).state == "ok"


def test_a_slow_disk_and_one_that_cannot_be_written_are_told_and_nothing_is_left(tmp_path: Path) -> None:
    ticks = count()
    assert machine.disk_speed(tmp_path, lambda: next(ticks) * 2.0).state == "warning"
    assert machine.disk_speed(tmp_path, lambda: next(ticks) * 1e-3).state == "ok"
    assert not list(tmp_path.iterdir())
    found = machine.disk_speed(tmp_path / "gone")
    assert (found.state, "cannot be written" in found.words) == ("fault", True)


def test_a_clock_that_was_never_set_is_a_fault_and_one_not_synchronised_a_warning() -> None:
    assert machine.clock(0.0, True).state == "fault"
    assert machine.clock(BORN_WALL, False).state == "warning"
    assert machine.clock(BORN_WALL, True).state == "ok"


@pytest.mark.parametrize(("milli", "throttled", "state"), [(99_000, 0, "fault"), (90_000, 0, "warning"), (40_000, 3, "warning"), (40_000, 0, "ok")])  # fmt: skip
def test_heat_is_judged_by_the_zones_own_limit(
    tmp_path: Path, milli: int, throttled: int, state: str
) -> None:
    zone = tmp_path / "thermal_zone0"
    zone.mkdir()
    for name, text in (
        ("temp", milli),
        ("type", "soc"),
        ("trip_point_0_type", "passive"),
        ("trip_point_0_temp", 97_000),
        ("trip_point_1_type", "active"),
        ("trip_point_1_temp", 30_000),
    ):
        (zone / name).write_text(f"{text}\n")
    core = tmp_path / "cpu0" / "thermal_throttle"
    core.mkdir(parents=True)
    (core / "core_throttle_count").write_text(f"{throttled}\n")
    found = machine.heat(tmp_path, tmp_path)
    assert (found.state, "soc" in found.words) == (state, True)


def test_a_gpu_without_room_for_a_candidate_is_told() -> None:
    full = Accelerator(name="Orin", memory_total_bytes=8 << 30, memory_used_bytes=int(7.9 * 2**30))
    found = machine.gpu_memory([full])
    assert found is not None
    assert found.state == "warning"
    assert machine.gpu_memory([]) is None


@pytest.mark.parametrize(
    ("shown", "state", "remedy"),
    [
        (None, "warning", "systemd"),
        ({"LoadState": "not-found"}, "warning", "agent install"),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "exit-code"}, "fault", "journalctl"),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "disabled"}, "warning", "enable"),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "4"}, "warning", "journalctl"),
        ({"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}, "ok", ""),
    ],
)  # fmt: skip
def test_a_service_that_would_not_come_back_is_told(
    shown: dict[str, str] | None, state: str, remedy: str
) -> None:
    found = service.unit(shown)
    assert (found.state, remedy in found.remedy) == (state, True)


def test_a_missing_watchdog_is_told() -> None:
    assert service.watchdog({"WatchdogUSec": "0"}, {}).state == "warning"
    assert service.watchdog(None, {}).state == "warning"
    assert service.watchdog(None, {"WATCHDOG_USEC": "30000000"}).state == "ok"
    assert service.watchdog({"WatchdogUSec": "30s"}, {}).state == "ok"


@pytest.mark.parametrize(
    ("files", "state", "words"),
    [
        ({"memory.max": "1000", "memory.current": "950"}, "warning", "memory nearly"),
        ({"pids.max": "100", "pids.current": "99"}, "warning", "tasks nearly"),
        ({"memory.events": "oom 2\noom_kill 2"}, "fault", "2 processes were killed"),
        ({"cpu.stat": "usage_usec 5\nnr_throttled 7"}, "warning", "throttled 7"),
        ({"memory.max": "max", "memory.current": "5"}, "ok", "no limit"),
    ],
)
def test_a_cgroup_that_presses_is_told(tmp_path: Path, files: dict[str, str], state: str, words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    found = service.cgroup(tmp_path)
    assert (found.state, words in found.words) == (state, True), found
    assert service.cgroup(None).state == "warning"


def test_state_that_others_can_read_or_that_is_anothers_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "device-key.pem"
    key.write_text("secret")
    key.chmod(0o644)
    assert "can be read by other users" in service.permissions(tmp_path, os.getuid()).words
    key.chmod(0o600)
    assert service.permissions(tmp_path, os.getuid()).state == "ok"
    tmp_path.chmod(0o755)
    assert service.permissions(tmp_path, os.getuid()).state == "fault"
    assert "another user" in service.permissions(tmp_path, os.getuid() + 1).words
    assert service.permissions(tmp_path / "gone", os.getuid()).state == "fault"


def test_a_camera_device_without_permission_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.cameras(tmp_path).state == "ok"
    (tmp_path / "video0").touch()
    monkeypatch.setattr(service.os, "access", lambda *_: False)
    found = service.cameras(tmp_path)
    assert (found.state, "video0" in found.words) == ("fault", True)


def test_a_device_without_identity_and_one_with_a_spoilt_one_are_faults() -> None:
    assert papers.enrolment(None).state == "fault"
    assert papers.enrolment(None, "identity.json cannot be used").words == "identity.json cannot be used"
    broker = Broker(host="h", port=1, username="u", password="")
    who = Identity("https://h", "f", "d1", "", broker, {})
    assert papers.enrolment(who).state == "ok"


@pytest.mark.parametrize(("age_days", "state", "words"), [(1, "ok", "89 more"), (80, "warning", "should have been renewed"), (91, "fault", "ended 1 days ago"), (-1, "warning", "future")])  # fmt: skip
def test_a_certificate_is_judged_by_its_age(age_days: float, state: str, words: str) -> None:
    found = papers.certificate(chain(), BORN_WALL + age_days * DAY_S, True)
    assert (found.state, words in found.words) == (state, True), found


def test_an_end_is_no_fault_by_a_clock_that_is_not_synchronised() -> None:
    assert papers.certificate(chain(), BORN_WALL + 100 * DAY_S, False).state == "warning"
    assert papers.certificate(None, BORN_WALL, True).state == "fault"
    assert papers.certificate(b"no pem", BORN_WALL, True).state == "fault"


def test_an_authority_that_ends_soon_wants_a_successor() -> None:
    pem = chain(400.0).decode()
    assert papers.authority(pem, BORN_WALL).state == "ok"
    assert papers.authority(pem, BORN_WALL + 350 * DAY_S).state == "warning"
    assert papers.authority(pem, BORN_WALL + 401 * DAY_S).state == "fault"
    assert papers.authority("", BORN_WALL).state == "warning"
    assert papers.authority("no pem", BORN_WALL).state == "fault"


def test_trust_metadata_past_its_end_is_a_fault_and_a_missing_root_a_warning() -> None:
    kept = b'{"signed": {"expires": "2026-03-01T00:00:00Z"}}'
    end_wall = 1772323200.0
    assert papers.metadata("", None, 0.0, True).state == "warning"
    assert papers.metadata("root", None, 0.0, True).state == "ok"
    assert papers.metadata("root", kept, end_wall - 86400.0, True).state == "ok"
    assert papers.metadata("root", kept, end_wall + 86400.0, True).state == "fault"
    assert papers.metadata("root", kept, end_wall + 86400.0, False).state == "warning"
    assert papers.metadata("root", b"[]", 0.0, True).state == "warning"
