"""`outrider camera`: the cameras of the local network; a picture or a film of one that this device watches."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

FILM_DEADLINE_S = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    scan = actions.add_parser("scan", help="list the ONVIF cameras that answer on the local network")
    scan.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="listen so long (3)")
    scan.add_argument(
        "--interface", default="", metavar="ADDRESS", help="ask on the network of this own address"
    )
    scan.add_argument(
        "--target", default="", metavar="HOST:PORT", help="ask this host alone, without multicast"
    )
    scan.add_argument("--json", action="store_true", help="print one JSON object a camera")
    for name, suffix, words in (
        ("snapshot", "jpg", "the newest picture of a camera that this device watches"),
        ("clip", "webm", "the last seconds of a camera that this device watches and keeps clips of"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("camera")
        action.add_argument("--out", type=Path, metavar="FILE", help=f"instead of CAMERA.{suffix}")
        action.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration")
        if name == "clip":
            action.add_argument("--seconds", type=float, default=10.0, help="how long (10)")


def run(arguments: argparse.Namespace) -> int:
    return {"scan": _scan, "snapshot": _snapshot, "clip": _clip}[str(arguments.action)](arguments)


def _snapshot(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(f"{arguments.camera}.jpg")
    return _fetch(arguments, f"/cameras/{arguments.camera}/snapshot.jpg", out)


def _clip(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(f"{arguments.camera}.webm")
    return _fetch(arguments, f"/cameras/{arguments.camera}/clip?seconds={arguments.seconds:g}", out)


def _fetch(arguments: argparse.Namespace, path: str, out: Path) -> int:
    """Have the agent of this machine write it."""
    import os

    import httpx

    from agent import config as configuration
    from agent.daemon import PORT_FILE
    from agent.errors import AgentError

    try:
        config = configuration.load(arguments.config, os.environ)
        port_file = config.run_dir / PORT_FILE
        port = port_file.read_text().strip() if port_file.exists() else config.http_port
        url = f"http://{config.http_host}:{port}"
        answer = httpx.get(f"{url}{path}", timeout=FILM_DEADLINE_S, trust_env=False)
        if answer.status_code != 200:
            print(f"outrider: {answer.json().get('detail', answer.status_code)}", file=sys.stderr)
            return 1
        out.write_bytes(answer.content)
    except (httpx.HTTPError, AgentError, OSError, ValueError) as e:
        print(f"outrider: the agent of this machine gives nothing: {e}; does it run?", file=sys.stderr)
        return 1
    print(f"{out}  {len(answer.content)} bytes")
    return 0


def _scan(arguments: argparse.Namespace) -> int:
    from runtime.camera.discovery import MULTICAST, scan

    host, _, port = arguments.target.rpartition(":")
    try:
        target = (host, int(port)) if arguments.target else MULTICAST
        cameras = scan(arguments.timeout, target=target, interface=arguments.interface)
    except (OSError, ValueError) as e:
        print(f"outrider: the network cannot be asked: {e}; check --interface and --target", file=sys.stderr)
        return 1
    for camera in cameras:
        if arguments.json:
            print(json.dumps(dataclasses.asdict(camera)))
        else:
            words = " ".join(each for each in (camera.name, camera.hardware, camera.location) if each)
            print(f"{camera.address:16} {words or camera.id}")
    if not cameras:
        print("no camera answered; are discovery and this network's multicast on?", file=sys.stderr)
    return 0
