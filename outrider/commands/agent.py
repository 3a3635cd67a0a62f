"""`outrider agent run | enroll | status | doctor | import | install | uninstall | update | quarantine | bundle`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from outrider.commands import agent_import, agent_install, agent_update


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    commands = parser.add_subparsers(
        dest="what",
        required=True,
        metavar="run|enroll|status|doctor|import|install|uninstall|update|quarantine|bundle",
    )
    run_ = commands.add_parser("run", help="run the agent of this device until it is told to stop")
    enroll = commands.add_parser("enroll", help="trade a one-time token for an identity")
    enroll.add_argument("url", help="the control plane, https://…")
    enroll.add_argument(
        "token", help="a token of `outrider fleet token create`; - reads it from standard input"
    )
    enroll.add_argument("--device", help="the name to ask for; the token may already hold one")
    enroll.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    enroll.add_argument(
        "--public-authorities",
        action="store_true",
        help="trust the system's authorities too: a proxy before the control plane has a certificate of theirs",
    )
    enroll.add_argument(
        "--allow-http", action="store_true", help="send the token without TLS, in a network that is trusted"
    )
    enroll.add_argument("--force", action="store_true", help="replace the identity this device has")
    status = commands.add_parser("status", help="what the running agent says of itself")
    status.add_argument("--json", action="store_true", help="the whole document")
    doctor = commands.add_parser("doctor", help="look at everything this device needs, and say what to do")
    doctor.add_argument("--json", action="store_true", help="JSON instead of lines")
    bring = commands.add_parser("import", help="take in a bundle from a stick, where there is no network")
    agent_import.configure(bring)
    agent_install.configure(commands)
    for command in (run_, enroll, status, doctor, bring, *agent_update.configure(commands)):
        command.add_argument("--config", type=Path, help="TOML file (default /etc/outrider/agent.toml)")
        command.add_argument("--state-dir", type=Path, help="instead of the file's")
        command.add_argument("--run-dir", type=Path, help="instead of the file's; a short path")
    run_.add_argument("--http-port", type=int, help="instead of the file's; 0 takes a free one, -1 none")


def run(arguments: argparse.Namespace) -> int:
    """:returns: 0, or 1 with a sentence on stderr"""
    from agent.errors import AgentError

    if arguments.what in ("install", "uninstall"):
        return agent_install.run(arguments)
    try:
        config = _config(arguments)
        what: str = arguments.what
        doers = {
            "run": _run,
            "enroll": _enroll,
            "status": _status,
            "doctor": _doctor,
            "import": agent_import.run,
            "update": agent_update.update,
            "quarantine": agent_update.quarantine,
            "bundle": agent_update.bundle,
        }
        return doers[what](config, arguments)
    except (AgentError, OSError) as e:
        print(f"outrider agent: {e}", file=sys.stderr)
        return 1


def _config(arguments: argparse.Namespace) -> Any:
    from dataclasses import replace

    from agent import (
        config,
        lean,  # noqa: F401 - before what imports httpx
    )

    path = arguments.config
    if arguments.what == "enroll" and path is not None and not path.exists():
        path = None  # it is written when the device is enrolled
    loaded = config.load(path, os.environ)
    changes = {
        name: value
        for name in ("state_dir", "run_dir", "http_port")
        if (value := getattr(arguments, name, None)) is not None
    }
    return replace(loaded, **changes)


def _run(config: Any, arguments: argparse.Namespace) -> int:
    from agent import daemon, logs
    from agent.clock import SystemClock

    logs.set_up(config.log_format, config.log_level)
    config.make_directories()
    clock = SystemClock(assume_synced=config.clock_synced)
    if asyncio.run(daemon.serve(config, clock, os.environ, lambda: _config(arguments))):
        from agent import launcher

        launcher.again(["run", *_given(arguments, config)])
    return 0


def _given(arguments: argparse.Namespace, config: Any) -> list[str]:
    """The arguments of `run` as they were given; the state directory in any case."""
    given = ["--state-dir", str(config.state_dir)]
    if arguments.config is not None:
        given += ["--config", str(arguments.config)]
    if arguments.run_dir is not None:
        given += ["--run-dir", str(arguments.run_dir)]
    if arguments.http_port is not None:
        given += ["--http-port", str(arguments.http_port)]
    return given


def _enroll(config: Any, arguments: argparse.Namespace) -> int:
    from agent import enrol, identity
    from agent.clock import SystemClock
    from agent.owner import acting_for

    config.make_directories()
    if identity.load(config.state_dir) is not None and not arguments.force:
        print(f"outrider agent: already enrolled ({config.state_dir}); --force replaces it", file=sys.stderr)
        return 1
    labels = dict(label.partition("=")[::2] for label in arguments.label)
    token = sys.stdin.readline().strip() if arguments.token == "-" else arguments.token
    enrolment = enrol.enrol(
        arguments.url,
        token,
        config.state_dir,
        SystemClock(assume_synced=config.clock_synced),
        device=arguments.device,
        labels=labels,
        public_authorities=arguments.public_authorities,
        allow_http=arguments.allow_http,
        ca_file=config.network.ca_file,
        connect=enrol.through(config.network.proxy),
    )
    with acting_for(config.state_dir):
        who = asyncio.run(enrolment)
    print(f"enrolled as {who.device} of fleet {who.fleet}")
    return _write_config(config, arguments)


def _write_config(config: Any, arguments: argparse.Namespace) -> int:
    """Write what the agent is to be started with, where there is no configuration yet."""
    from agent import config as configuration

    elsewhere = config.state_dir != configuration.Config.state_dir
    path = arguments.config or (None if elsewhere else configuration.DEFAULT_FILE)
    if path is None:
        print("no configuration was written: give --config FILE, or start the agent with the same options")
        return 0
    if path.exists():
        print(f"configuration: {path}, as it was")
        return 0
    try:
        configuration.write(path, config)
    except OSError as e:
        print(
            f"no configuration was written to {path} ({e.strerror}); start the agent with the same options",
            file=sys.stderr,
        )
        return 0
    print(
        f"configuration written to {path}; start the agent: systemctl start outrider-agent, or outrider agent run"
    )
    return 0


def _status(config: Any, arguments: argparse.Namespace) -> int:
    import httpx

    from agent.daemon import PORT_FILE

    port_file = config.run_dir / PORT_FILE
    port = port_file.read_text().strip() if port_file.exists() else config.http_port
    url = f"http://{config.http_host}:{port}/status"
    try:
        status = httpx.get(url, timeout=5.0, trust_env=False).json()
    except (httpx.HTTPError, ValueError) as e:
        print(f"outrider agent: no agent answers at {url}: {e}", file=sys.stderr)
        return 1
    print(json.dumps(status, indent=2) if arguments.json else _lines(status))
    return 0


def _doctor(config: Any, arguments: argparse.Namespace) -> int:
    """1 where something is at fault."""
    from agent.clock import SystemClock
    from agent.doctor import examination

    clock = SystemClock(assume_synced=config.clock_synced)
    patient = examination.patient_of(config, clock, os.environ, _agent_pid(config) or "self")
    findings = asyncio.run(examination.examine(patient))
    if arguments.json:
        print(json.dumps([finding.to_json() for finding in findings]))
    else:
        print("\n".join(finding.line() for finding in findings))
    return int(any(finding.state == "fault" for finding in findings))


def _agent_pid(config: Any) -> int | None:
    """The running agent's process id, as it says itself; None where none answers."""
    import httpx

    from agent.daemon import PORT_FILE

    try:
        port = (config.run_dir / PORT_FILE).read_text().strip()
        about = httpx.get(f"http://{config.http_host}:{port}/status", timeout=2.0, trust_env=False).json()
        return int(about["pid"])
    except (OSError, httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def _lines(status: dict[str, Any]) -> str:
    from outrider import updatewords

    reported, health = status["reported"], status["health"]
    lines = [
        f"{status['device']} of {status['fleet']}: {'connected' if status['connected'] else 'offline'}, "
        f"revision {reported['revision']}, {reported['phase']}"
    ]
    if reported.get("message"):
        lines.append(f"  {reported['reason']}: {reported['message']}")
    lines += [f"  {words}" for words in updatewords.lines(reported)]
    for name, camera in health["cameras"].items():
        blind = camera.get("blind_now")
        now = f", blind for {blind['for_s']:.1f} s ({blind['cause']})" if blind else ""
        lines.append(
            f"  camera {name}: {camera['state']}, {camera['fps']:.1f} /s, {camera['results']} results{now}"
        )
    for name, model in health["models"].items():
        lines.append(f"  model {name}: {model['state']} {model['digest'][7:19]}")
    return "\n".join(lines)
