"""The service's part: whether systemd keeps the agent alive, what its cgroup allows, who may read its files, its cameras."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from wire.finding import FAULT, OK, WARNING, Finding

UNIT = "outrider-agent.service"
ASKED = ("LoadState", "ActiveState", "SubState", "WatchdogUSec", "NRestarts", "Result", "UnitFileState")
SHOW_S = 5.0
FULL_SHARE = 0.9
MIB = 2**20
CGROUPS = Path("/sys/fs/cgroup")


def show_unit(unit: str = UNIT) -> dict[str, str] | None:
    """What systemd says of the unit; None where there is no systemd."""
    try:
        done = subprocess.run(
            ["systemctl", "show", unit, *(f"--property={name}" for name in ASKED)],
            capture_output=True,
            text=True,
            timeout=SHOW_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)


def unit(shown: Mapping[str, str] | None) -> Finding:
    name = "service"
    if shown is None:
        return Finding(
            name, WARNING, "no systemd here: nothing starts the agent again", "run it under systemd"
        )
    if shown.get("LoadState") != "loaded":
        return Finding(name, WARNING, f"{UNIT} is not installed", "run `outrider agent install`, as root")
    state = f"{shown.get('ActiveState')} ({shown.get('SubState')}), {shown.get('NRestarts', '0')} restarts"
    if shown.get("ActiveState") not in ("active", "reloading", "activating"):
        words = f"{state}, result {shown.get('Result', 'unknown')}"
        return Finding(name, FAULT, words, f"systemctl start {UNIT}; journalctl -u {UNIT} tells why it ended")
    if shown.get("UnitFileState") not in ("enabled", "enabled-runtime", "static"):
        return Finding(name, WARNING, f"{state}, not enabled", f"systemctl enable {UNIT}, or a boot ends it")
    if int(shown.get("NRestarts", "0") or 0) > 0:
        return Finding(name, WARNING, state, f"journalctl -u {UNIT} tells why it was started again")
    return Finding(name, OK, state)


def watchdog(shown: Mapping[str, str] | None, environment: Mapping[str, str]) -> Finding:
    """From the service's own environment inside it, else from what systemd says."""
    usec = environment.get("WATCHDOG_USEC", "")
    period = (
        f"{int(usec) / 1e6:.0f} s" if usec.isdigit() and int(usec) else (shown or {}).get("WatchdogUSec", "0")
    )
    if period in ("0", "infinity", ""):
        return Finding(
            "watchdog", WARNING, "none: an agent that hangs is not ended", f"WatchdogSec=30 in {UNIT}"
        )
    return Finding("watchdog", OK, f"ends an agent that says nothing for {period}")


def cgroup_of(pid: int | str = "self") -> Path | None:
    """The directory of a process's cgroup; None where cgroups are of version 1 or not mounted."""
    try:
        line = next(
            line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")
        )
    except (OSError, StopIteration):
        return None
    path = CGROUPS / line[3:].lstrip("/")
    return path if path.is_dir() else None


def cgroup(path: Path | None) -> Finding:
    name = "cgroup limits"
    if path is None:
        return Finding(
            name, WARNING, "none found: a leak takes the whole machine", "use cgroups of version 2"
        )
    limit, current = _figure(path / "memory.max"), _figure(path / "memory.current")
    tasks, running = _figure(path / "pids.max"), _figure(path / "pids.current")
    killed = _entry(path / "memory.events", "oom_kill")
    throttled = _entry(path / "cpu.stat", "nr_throttled")
    words = f"memory {_share(current, limit, MIB, ' MiB')}, tasks {_share(running, tasks)}"
    if killed:
        return Finding(
            name, FAULT, f"{words}; {killed} processes were killed for memory", "raise MemoryMax=, or run fewer models"
        )  # fmt: skip
    near = [
        what
        for what, used, most in (("memory", current, limit), ("tasks", running, tasks))
        if used is not None and most is not None and used > FULL_SHARE * most
    ]
    if near:
        return Finding(
            name, WARNING, f"{words}: {' and '.join(near)} nearly used up", "raise the limit in a drop-in"
        )
    if throttled:
        return Finding(name, WARNING, f"{words}; throttled {throttled} times", "raise CPUQuota=")
    return Finding(name, OK, words)


def permissions(state_dir: Path, uid: int) -> Finding:
    """Nobody but the service's user may read the state, and that user may write all of it."""
    name = "permissions"
    try:
        status = state_dir.stat()
        files = [(path, path.lstat()) for path in state_dir.iterdir()]
    except OSError as e:
        return Finding(
            name, FAULT, f"{state_dir} cannot be read: {e}", "run `outrider agent install`, as root; or use sudo"
        )  # fmt: skip
    foreign = sorted(path.name for path, found in files if found.st_uid != uid)
    if status.st_uid != uid or foreign:
        told = ", ".join(foreign[:4]) or str(state_dir)
        return Finding(
            name, FAULT, f"{told} belong to another user than the service's", f"chown -R {uid}: {state_dir}"
        )
    open_ = [path.name for path, found in files if _secret(path, found) and found.st_mode & 0o077]
    if status.st_mode & 0o077 or open_:
        told = ", ".join(sorted(open_)[:4]) or str(state_dir)
        return Finding(
            name, FAULT, f"{told} can be read by other users", f"chmod -R go-rwx {state_dir}; enrol the device again"
        )  # fmt: skip
    return Finding(name, OK, f"{state_dir} is its user's alone")


def _secret(path: Path, status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and path.suffix in (".pem", ".json")


def cameras(devices: Path = Path("/dev")) -> Finding:
    """Local camera devices can be opened by this user."""
    found = sorted(devices.glob("video[0-9]*"))
    closed = [str(path) for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return Finding(
            "camera devices", FAULT, f"no permission for {', '.join(closed)}", "usermod -aG video outrider; then restart"
        )  # fmt: skip
    words = ", ".join(map(str, found)) or "none here; network cameras and files need none"
    return Finding("camera devices", OK, words)


def _share(used: int | None, most: int | None, unit: int = 1, name: str = "") -> str:
    shown = "unknown use" if used is None else f"{used // unit}{name}"
    return f"{shown} of {'no limit' if most is None else f'{most // unit}{name}'}"


def _figure(path: Path) -> int | None:
    """None for `max`, and where the controller is not there."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _entry(path: Path, name: str) -> int:
    try:
        rows = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if " " in line)
        return int(rows.get(name, 0))
    except (OSError, ValueError):
        return 0
