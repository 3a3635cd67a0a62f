"""`outrider doctor`: what this machine can run, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from wire.finding import Finding

MIB = 2**20
LOW_MEMORY_MIB = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """0 where nothing is at fault, else 1."""
    findings = list(examine())
    if args.json:
        print(json.dumps([finding.to_json() for finding in findings]))
    else:
        for finding in findings:
            print(finding.line())
    return int(any(finding.state == "fault" for finding in findings))


def examine() -> Iterator[Finding]:
    """Look at the machine; nothing is changed."""
    from runtime import doctor as engines

    yield machine()
    yield from engines.examine()
    yield from programs()
    yield cameras()


def machine() -> Finding:
    memory_mib = psutil.virtual_memory().available // MIB
    words = f"{platform.machine()}, {os.cpu_count()} cores, {memory_mib} MiB free, Python {platform.python_version()}"
    if memory_mib < LOW_MEMORY_MIB:
        return Finding(
            "machine", "warning", words, f"less than {LOW_MEMORY_MIB} MiB leave room for small models only"
        )
    return Finding("machine", "ok", words)


def programs() -> Iterator[Finding]:
    where = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=where)
    if found:
        yield Finding("mosquitto", "ok", found)
    else:
        remedy = "apt-get install mosquitto on the control plane's machine"
        yield Finding(
            "mosquitto", "warning", "is not installed: a control plane here uses the demo's broker", remedy
        )


def cameras() -> Finding:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        return Finding(
            "cameras", "fault", f"no permission for {', '.join(closed)}", "add the user to the group video"
        )
    return Finding(
        "cameras", "ok", ", ".join(devices) or "no USB camera; network cameras and files need none"
    )
