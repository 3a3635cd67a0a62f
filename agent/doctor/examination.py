"""All the looks at one device, side by side, each with its deadline: of `outrider agent doctor` and of the command `doctor`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from agent import identity as identities
from agent.clock import Clock
from agent.config import Config
from agent.doctor import machine, network, papers, service
from agent.errors import AgentError
from agent.health.nvidia import Gpus
from agent.identity import Identity
from agent.keys import FileKeys
from agent.metadata import FOLDER
from agent.tls import SignedTokens, Trust
from wire.finding import FAULT, OK, WARNING, Finding

CHECK_S = 30.0
ENGINES_S = 60.0


@dataclass(frozen=True)
class Patient:
    """What is looked at. `uid` owns the service's files; `sources` are the running state's cameras; `pid` is the agent's."""

    config: Config
    clock: Clock
    environment: Mapping[str, str]
    uid: int
    pid: int | str
    sources: Mapping[str, str]


def patient_of(
    config: Config, clock: Clock, environment: Mapping[str, str], pid: int | str = "self"
) -> Patient:
    """This device, its state directory's owner taken for the service's user."""
    try:
        uid = config.state_dir.stat().st_uid
    except OSError:
        uid = os.getuid()
    return Patient(config, clock, environment, uid, pid, running_sources(config.state_dir))


async def report(config: Config, clock: Clock, environment: Mapping[str, str]) -> dict[str, Any]:
    """The result of the command `doctor`: `findings`, and the worst of their states."""
    findings = await examine(patient_of(config, clock, environment))
    states = {finding.state for finding in findings}
    worst = next((state for state in (FAULT, WARNING) if state in states), OK)
    return {"worst": worst, "findings": [finding.to_json() for finding in findings]}


def running_sources(state_dir: Path) -> dict[str, str]:
    """Camera → source of the document that runs; empty where none does or it cannot be read."""
    try:
        document = json.loads((state_dir / "current").read_bytes())
        return {name: str(camera["source"]) for name, camera in document["cameras"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


async def examine(patient: Patient, python: Sequence[str] = (sys.executable,)) -> list[Finding]:
    """Every finding, in the order in which one would mend them. Nothing raises: a look that fails is a finding."""
    state_dir = patient.config.state_dir
    shown = await asyncio.to_thread(service.show_unit)
    memory = psutil.virtual_memory()
    who, problem = _identity(state_dir)
    looks: list[tuple[str, Awaitable[list[Finding]]]] = [
        ("service", _plain(lambda: service.unit(shown))),
        ("watchdog", _plain(lambda: service.watchdog(shown, patient.environment))),
        ("permissions", _plain(lambda: service.permissions(state_dir, patient.uid))),
        ("memory", _plain(lambda: machine.memory(memory.available, memory.total))),
        ("cgroup limits", _plain(lambda: service.cgroup(service.cgroup_of(patient.pid)))),
        ("disk", _plain(lambda: machine.disk_space(state_dir, patient.config.limits.free_space_bytes))),
        ("disk speed", _plain(lambda: machine.disk_speed(state_dir))),
        ("heat", _plain(machine.heat)),
        ("clock", _plain(lambda: machine.clock(patient.clock.wall(), patient.clock.synced()))),
        ("enrolment", _plain(lambda: papers.enrolment(who, problem))),
        *(_connections(patient, who) if who is not None else ()),
        ("camera devices", _plain(service.cameras)),
        ("cameras", _one(network.cameras(patient.sources))),
        ("GPU memory", _gpus()),
        ("engines", _engines(python)),
    ]
    found = await asyncio.gather(*(_bounded(name, look) for name, look in looks))
    return [finding for findings in found for finding in findings]


def _connections(patient: Patient, who: Identity) -> list[tuple[str, Awaitable[list[Finding]]]]:
    keys, clock = FileKeys(patient.config.state_dir), patient.clock
    hosts = {urlsplit(who.url).hostname or "", who.broker.host} - {""}
    return [
        ("certificate", _plain(lambda: papers.certificate(keys.certificate(), clock.wall(), clock.synced()))),
        ("trust metadata", _plain(lambda: _metadata(patient, who))),
        ("authority", _plain(lambda: papers.authority(who.authority, clock.wall()))),
        ("DNS", _one(network.names(hosts))),
        ("control plane", _control_plane(who, keys, clock)),
        ("broker", _broker(who, keys, clock)),
    ]


def _metadata(patient: Patient, who: Identity) -> Finding:
    path = patient.config.state_dir / FOLDER / "timestamp.json"
    try:
        kept = path.read_bytes()
    except OSError:
        kept = None
    return papers.metadata(who.root, kept, patient.clock.wall(), patient.clock.synced())


async def _control_plane(who: Identity, keys: FileKeys, clock: Clock) -> list[Finding]:
    trust = Trust(who.authority, keys, clock, public=who.public_authorities)
    auth = None if who.api_token else SignedTokens(who.device, keys, clock)
    async with httpx.AsyncClient(verify=trust.context, auth=auth) as client:
        if who.api_token:
            client.headers["Authorization"] = f"Bearer {who.api_token}"
        return [await network.control_plane(client, who.url)]


async def _broker(who: Identity, keys: FileKeys, clock: Clock) -> list[Finding]:
    trust = Trust(who.authority, keys, clock, public=who.public_authorities)
    return [await network.broker(who.broker.host, who.broker.port, trust.context if who.broker.tls else None)]


async def _gpus() -> list[Finding]:
    gpus = await asyncio.to_thread(Gpus)
    try:
        finding = machine.gpu_memory(await asyncio.to_thread(gpus.read))
        return [finding] if finding else []
    finally:
        gpus.close()


async def _engines(python: Sequence[str]) -> list[Finding]:
    """Asked of a child: what it loads may crash."""
    child = await asyncio.create_subprocess_exec(
        *python,
        "-m",
        "runtime.doctor",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ},
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), ENGINES_S)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode:
        remedy = "run `outrider doctor`; reinstall the engine it ends at"
        return [Finding("engines", FAULT, f"looking at them ended with status {child.returncode}", remedy)]
    return [Finding(**row) for row in json.loads(output)]


async def _bounded(name: str, look: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await asyncio.wait_for(look, CHECK_S + ENGINES_S)
    except asyncio.TimeoutError:
        return [
            Finding(name, WARNING, "this look took too long and was given up", "look at the machine's load")
        ]
    except Exception as e:  # the boundary: one look that fails must not hide the others
        return [
            Finding(name, WARNING, f"could not be looked at: {type(e).__name__}: {e}", "send this line in")
        ]


async def _plain(look: Callable[[], Finding]) -> list[Finding]:
    return [await asyncio.to_thread(look)]


async def _one(look: Awaitable[Finding]) -> list[Finding]:
    return [await look]


def _identity(state_dir: Path) -> tuple[Identity | None, str]:
    try:
        return identities.load(state_dir), ""
    except AgentError as e:
        return None, str(e)
