"""The agent's own configuration: a TOML file over defaults. What the device runs is desired state, not configuration."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import ConfigRefused
from agent.files import make_directories, write_atomic
from agent.proxy import parse as parse_proxy
from agent.routes import MODES
from wire.problem import Problem, nearest, shown
from wire.reasons import Reason

toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

DEFAULT_FILE = Path("/etc/outrider/agent.toml")
LOG_FORMATS = ("auto", "text", "json", "journal")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_RUN_DIR_BYTES = 80
"""sockaddr_un.sun_path holds 107 bytes and a NUL (unix(7)); an engine's socket adds `/e-` and 16 digits, a margin remains."""


@dataclass(frozen=True)
class Limits:
    """Every limit, with its unit in the name. `restarts`: of one child in `restarts_window_s`; one that ends more often is
    started every `flapping_s`. `store_bytes` bounds models and workflows on disk, 0 by free space alone. `engines_bytes` bounds the memory of all engines together, 0 by what the machine has. `fetch_max_bytes_s` and `upload_max_bytes_s` 0 are no limit. Above `stress_*` cameras work on fewer frames; 100 % of the processor is never above."""

    outbox_bytes: int = 256 * 1024 * 1024
    clips_bytes: int = 256 * 1024 * 1024
    outbox_age_s: float = 7 * 86400.0
    in_flight: int = 20
    no_subscriber_retry_s: float = 30.0
    settle_s: float = 10.0
    free_space_bytes: int = 256 * 1024 * 1024
    store_bytes: int = 0
    engines_bytes: int = 0
    fetch_deadline_s: float = 86400.0
    fetch_max_bytes_s: int = 0
    upload_max_bytes_s: int = 0
    fetch_min_bytes_s: int = 1024
    fetch_slow_s: float = 60.0
    trust_refresh_s: float = 21600.0
    switch_deadline_s: float = 30.0
    silent_s: float = 10.0
    start_silent_s: float = 60.0
    load_silent_s: float = 600.0
    stop_s: float = 5.0
    restart_min_s: float = 0.2
    restart_max_s: float = 10.0
    restarts: int = 10
    restarts_window_s: float = 600.0
    flapping_s: float = 60.0
    stress_celsius: float = 90.0
    stress_watts: float = 10000.0
    stress_cpu_percent: float = 100.0
    refused_retry_s: float = 60.0
    connect_s: float = 15.0
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 60.0
    poll_after_s: float = 60.0
    poll_s: float = 60.0
    renewal_check_s: float = 3600.0


@dataclass(frozen=True)
class Network:
    """`proxy`: the site's HTTP proxy, `http://[USER:PASSWORD@]HOST:PORT`, for HTTPS and MQTT. `ca_file`: authorities (PEM) to trust besides, such
    as a private one of a reverse proxy. `mqtt`: `auto` (TCP, else WebSocket), `tcp`, `websocket`, or `off` for HTTPS alone. `websocket`: its
    URL, where enrolment has given none."""

    proxy: str = field(default="", repr=False)
    ca_file: str = ""
    mqtt: str = "auto"
    websocket: str = ""

    def __post_init__(self) -> None:
        parse_proxy(self.proxy)
        if self.mqtt not in MODES:
            raise ConfigRefused(
                Reason.CONFIG_INVALID,
                f"network.mqtt {self.mqtt!r} is not known; expected one of {', '.join(MODES)}",
            )


@dataclass(frozen=True)
class Config:
    """`state_dir` survives a boot; `run_dir` holds sockets and snapshots, its path is short. `http_port` 0 takes a free one,
    negative serves none. `clock_synced`: the wall clock is kept right by other means than NTP. `allow_workflow_code`: Python that a
    workflow brings may run in pipeline processes; no message can switch it on. `allow_reboot`: the command `reboot` restarts the machine
    by `reboot_command`."""

    state_dir: Path = Path("/var/lib/outrider")
    run_dir: Path = Path("/run/outrider")
    http_host: str = "127.0.0.1"
    http_port: int = 7373
    log_format: str = "auto"
    log_level: str = "INFO"
    clock_synced: bool = False
    allow_workflow_code: bool = False
    allow_reboot: bool = False
    reboot_command: str = "systemctl reboot"
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        for name, allowed in (("log_format", LOG_FORMATS), ("log_level", LOG_LEVELS)):
            if getattr(self, name) not in allowed:
                raise ConfigRefused(
                    Reason.CONFIG_INVALID,
                    f"{name} {getattr(self, name)!r} is not known; expected one of {', '.join(allowed)}",
                )
        size = len(os.fsencode(self.run_dir))
        if size > MAX_RUN_DIR_BYTES:
            raise ConfigRefused(
                Reason.CONFIG_INVALID,
                f"run_dir {str(self.run_dir)!r} has {size} bytes; at most {MAX_RUN_DIR_BYTES} leave room for the "
                "sockets' names: choose a shorter one",
            )

    def make_directories(self) -> None:
        """:raises OSError: no permission"""
        for directory in (self.state_dir, self.run_dir):
            make_directories(directory, 0o700)


TABLES: dict[str, type[Any]] = {"limits": Limits, "network": Network}


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the file, or the defaults where there is none; `OUTRIDER_STATE_DIR` and `OUTRIDER_RUN_DIR` win over both.

    :raises ConfigRefused: with every problem
    """
    document: dict[str, Any] = {}
    chosen = path or DEFAULT_FILE
    if path is not None or chosen.exists():
        document = _parsed(chosen)
    for name in ("state_dir", "run_dir"):
        if value := environment.get(f"OUTRIDER_{name.upper()}"):
            document[name] = value
    return parse(document, str(chosen))


def write(path: Path, config: Config) -> None:
    """Write the file: where things lie, and whatever is not the default.

    :raises OSError: no permission
    """
    import tomli_w

    default = Config()
    document: dict[str, Any] = {"state_dir": str(config.state_dir), "run_dir": str(config.run_dir)}
    sections = {name for name in ("limits", "network") if getattr(config, name) != getattr(default, name)}
    document |= _changed(config, default, {"state_dir", "run_dir", "limits", "network"})
    document |= {name: _changed(getattr(config, name), getattr(default, name), set()) for name in sections}
    content = "# Written by `outrider agent enroll`. What the device does is not in here: the control plane says it.\n"
    content += tomli_w.dumps(document)
    make_directories(path.parent)
    write_atomic(path, content.encode())


def _changed(value: Any, default: Any, without: set[str]) -> dict[str, Any]:
    """The fields of a dataclass that are not the default's, as TOML has them."""
    names = [f.name for f in dataclasses.fields(value) if f.name not in without]
    found = {name: getattr(value, name) for name in names if getattr(value, name) != getattr(default, name)}
    return {name: str(item) if isinstance(item, Path) else item for name, item in found.items()}


def short_run_dir() -> Path:
    """A new run directory with a short path, for a run without systemd."""
    return Path(tempfile.mkdtemp(prefix="outrider-", dir="/tmp"))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return dict(toml.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, toml.TOMLDecodeError) as e:
        raise ConfigRefused(Reason.CONFIG_INVALID, f"{path} cannot be read as TOML: {e}") from e


def parse(document: Mapping[str, Any], where: str = "configuration") -> Config:
    """Build a configuration from parsed TOML.

    :raises ConfigRefused: with every problem
    """
    problems: list[Problem] = []
    values = _fields(Config, {k: v for k, v in document.items() if k not in TABLES}, "", problems)
    for name, cls in TABLES.items():
        table = document.get(name, {})
        if isinstance(table, Mapping):
            values[name] = cls(**_fields(cls, table, f"{name}.", problems))
        else:
            problems.append(Problem(name, Reason.CONFIG_INVALID, f"{shown(table)} is no table"))
    if problems:
        text = "; ".join(map(str, problems))
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f"{where} has {len(problems)} problem(s): {text}", problems
        )
    return Config(**values)


def _fields(cls: type[Any], table: Mapping[str, Any], at: str, problems: list[Problem]) -> dict[str, Any]:
    defaults = {f.name: f.type for f in dataclasses.fields(cls) if f.name not in TABLES}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in defaults:
            problems.append(
                Problem(
                    at + name,
                    Reason.CONFIG_INVALID,
                    "is not known",
                    expected=f"one of {sorted(defaults)}",
                    remedy=nearest(name, defaults),
                )
            )
        elif (read := _value(str(defaults[name]), value)) is None:
            problems.append(
                Problem(
                    at + name,
                    Reason.CONFIG_INVALID,
                    f"{shown(value)} cannot be used",
                    expected=str(defaults[name]),
                )
            )
        else:
            values[name] = read
    return values


def _value(kind: str, value: object) -> object | None:
    if kind == "Path":
        return Path(value) if isinstance(value, str) and value else None
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind == "int":
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "float":
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if number and value > 0 else None  # type: ignore[arg-type,operator]
    return value if isinstance(value, str) else None
