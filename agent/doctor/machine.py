"""The machine's part: memory, disk, clock, heat, GPU memory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wire.finding import FAULT, OK, WARNING, Finding
from wire.health import Accelerator

MIB = 2**20
LOW_MEMORY_BYTES = 512 * MIB
LOW_INODES = 10_000
PROBE_BYTES = 8 * MIB
SYNCS = 8
SLOW_BYTES_PER_S = 8 * MIB
"""Below this a model of 100 MB takes more than 12 s to be written: a worn SD card."""
SLOW_SYNC_S = 0.2
OLDEST_WALL = 1_735_689_600.0
"""1 January 2025: a clock before it has never been set."""
HOT_MARGIN_CELSIUS = 10.0
LOW_GPU_SHARE = 0.1
THERMAL = Path("/sys/class/thermal")
THROTTLES = Path("/sys/devices/system/cpu")


def memory(available_bytes: int, total_bytes: int) -> Finding:
    words = f"{available_bytes // MIB} MiB available of {total_bytes // MIB}"
    if available_bytes < LOW_MEMORY_BYTES:
        return Finding("memory", WARNING, words, "models may be refused; see what else runs, or add memory")
    return Finding("memory", OK, words)


def disk_space(state_dir: Path, keep_free_bytes: int) -> Finding:
    """Room for artifacts above what is always kept free."""
    try:
        usage = shutil.disk_usage(state_dir)
        inodes = os.statvfs(state_dir).f_favail
    except OSError as e:
        return Finding(
            "disk", FAULT, f"{state_dir} cannot be looked at: {e}", "run `outrider agent install`, as root"
        )
    words = f"{usage.free // MIB} MiB free of {usage.total // MIB} at {state_dir}"
    if usage.free < keep_free_bytes:
        return Finding(
            "disk",
            FAULT,
            f"{words}; {keep_free_bytes // MIB} MiB are kept free",
            "make room: updates are refused",
        )
    if 0 < inodes < LOW_INODES:
        return Finding("disk", WARNING, f"{words}, {inodes} inodes", "delete files: each needs an inode")
    if usage.free < 2 * keep_free_bytes:
        return Finding("disk", WARNING, words, "little is left for updates")
    return Finding("disk", OK, words)


def disk_speed(state_dir: Path, mono: Callable[[], float] = time.monotonic) -> Finding:
    """Writes 8 MiB and syncs, then syncs small writes as journal and outbox do."""
    name, path = "disk speed", state_dir / f"doctor-probe-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            began_mono = mono()
            os.write(descriptor, os.urandom(PROBE_BYTES))
            os.fsync(descriptor)
            rate = PROBE_BYTES / max(mono() - began_mono, 1e-6)
            worst_s = max(_sync_s(descriptor, mono) for _ in range(SYNCS))
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
    except OSError as e:
        return Finding(
            name, FAULT, f"{state_dir} cannot be written: {e}", "check mount options, room and permissions"
        )
    words = f"{rate / MIB:.0f} MiB/s written and synced, a small sync takes up to {worst_s * 1e3:.0f} ms"
    if rate < SLOW_BYTES_PER_S or worst_s > SLOW_SYNC_S:
        return Finding(
            name,
            WARNING,
            words,
            "slow storage delays updates and events; use an industrial card, eMMC or NVMe",
        )
    return Finding(name, OK, words)


def _sync_s(descriptor: int, mono: Callable[[], float]) -> float:
    began_mono = mono()
    os.write(descriptor, b"x" * 512)
    os.fsync(descriptor)
    return mono() - began_mono


def clock(wall: float, synced: bool) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall))
    if wall < OLDEST_WALL:
        return Finding(
            "clock", FAULT, f"it is {shown}, which cannot be", "set the clock, or let systemd-timesyncd reach a server"
        )  # fmt: skip
    if not synced:
        return Finding(
            "clock",
            WARNING,
            f"it is {shown}, not synchronised: expiry dates are not judged",
            "enable systemd-timesyncd or chrony; clock_synced = true where another means keeps it right",
        )
    return Finding("clock", OK, f"it is {shown}, synchronised")


def heat(thermal: Path = THERMAL, throttles: Path = THROTTLES) -> Finding:
    """The zone nearest to its own limit, and whether the processor has been slowed down since the boot."""
    zones = [zone for path in sorted(thermal.glob("thermal_zone*")) if (zone := _zone(path)) is not None]
    throttled = sum(
        _number(path) or 0 for path in throttles.glob("cpu*/thermal_throttle/core_throttle_count")
    )
    if not zones:
        return Finding("heat", OK, "no sensor tells a temperature")
    name, celsius, limit = min(zones, key=lambda zone: zone[2] - zone[1])
    words = f"{name} at {celsius:.0f} °C, slowed down from {limit:.0f} °C on"
    if celsius >= limit:
        return Finding("heat", FAULT, words, "cool the device: frames are lost now")
    if throttled or celsius > limit - HOT_MARGIN_CELSIUS:
        slowed = f"; slowed down {throttled} times since the boot" if throttled else ""
        return Finding("heat", WARNING, words + slowed, "cool the device, or lower cameras' frame rates")
    return Finding("heat", OK, words)


def _zone(path: Path) -> tuple[str, float, float] | None:
    """Type, temperature and the lowest passive or critical trip point in degrees Celsius."""
    milli = _number(path / "temp")
    trips = [
        _number(path / each.name.replace("_type", "_temp"))
        for each in path.glob("trip_point_*_type")
        if _text(each) in ("passive", "hot", "critical")
    ]
    limits = [trip for trip in trips if trip is not None and trip > 0]
    if milli is None or not limits:
        return None
    return _text(path / "type") or path.name, milli / 1e3, min(limits) / 1e3


def gpu_memory(gpus: Sequence[Accelerator]) -> Finding | None:
    """None where no GPU tells."""
    told = [
        (gpu.name, gpu.memory_total_bytes, gpu.memory_used_bytes)
        for gpu in gpus
        if gpu.memory_total_bytes and gpu.memory_used_bytes is not None
    ]
    if not told:
        return None
    words = ", ".join(
        f"{name}: {(total - used) // MIB} MiB free of {total // MIB}" for name, total, used in told
    )
    if any((total - used) < LOW_GPU_SHARE * total for _, total, used in told):
        return Finding("GPU memory", WARNING, words, "a candidate may not fit beside what serves")
    return Finding("GPU memory", OK, words)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None
