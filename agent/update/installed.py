"""The environment that was installed with the system: the Python that the launcher was started by, and the distributions it holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import UpdateRefused
from agent.launcher import BASE_VARIABLE
from agent.update.fitness import Machine
from wire.reasons import Reason

ASK_S = 60.0
SCRIPT = """
import importlib.metadata, json, os, platform, re, sys, sysconfig
paths = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
found, where = {}, {}
for one in importlib.metadata.distributions(path=paths):
    name = one.metadata["Name"]
    if name:
        plain = re.sub(r"[-_.]+", "-", name).lower()
        if plain not in found:
            found[plain], where[plain] = one.version, str(one._path)
config = os.path.join(sys.prefix, "pyvenv.cfg")
words = open(config).read().lower() if os.path.exists(config) else ""
system = sys.prefix == sys.base_prefix or "include-system-site-packages = true" in words
try:
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[-1]
except (AttributeError, ValueError, OSError, IndexError):
    glibc = ""
print(json.dumps({"paths": paths, "found": found, "where": where, "system": system, "glibc": glibc,
                  "python": "%d.%d" % sys.version_info[:2], "platform": "linux-" + platform.machine()}))
"""


@dataclass(frozen=True)
class Installed:
    """`paths` are its site-packages; `found` name → version, `where` name → the directory that says so. `system`: whether it sees those of the system too."""

    python: Path
    paths: tuple[str, ...]
    found: Mapping[str, str]
    where: Mapping[str, str]
    system: bool
    version: str
    platform: str
    glibc: str

    def machine(self, running: str) -> Machine:
        return Machine(self.version, self.platform, self.glibc, running, self.found)


def python_of(environment: Mapping[str, str]) -> Path:
    """The launcher's Python; this one where no launcher has started the agent."""
    return Path(environment.get(BASE_VARIABLE) or sys.executable)


async def look(python: Path) -> Installed:
    """Ask it, a fraction of a second.

    :raises UpdateRefused: it does not answer
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-I", "-c", SCRIPT),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            cwd="/",
        )
    except OSError as e:
        raise UpdateRefused(Reason.RELEASE_FAILED, f"{python} cannot be asked: {e}") from e
    try:
        said, _ = await asyncio.wait_for(process.communicate(), ASK_S)
        told = json.loads(said)
        return Installed(
            python,
            tuple(told["paths"]),
            told["found"],
            told["where"],
            bool(told["system"]),
            told["python"],
            told["platform"],
            told["glibc"],
        )
    except (asyncio.TimeoutError, ValueError, KeyError, TypeError) as e:
        raise UpdateRefused(
            Reason.RELEASE_FAILED, f"{python} does not say what was installed with the system: {e!r}"
        ) from e
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
