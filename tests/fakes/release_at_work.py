"""Brings a release into the spare slot by the agent's own code, as it does in PREPARE after a start: `release_at_work.py STATE_DIR DIGEST`.

Its wheels are there already (`Wheels`). Prints the slot that holds it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from agent.files import write_atomic
from agent.store import Store
from agent.update.install import install
from agent.update.installed import look
from agent.update.journal import Journal
from agent.update.releases import Releases
from agent.update.slots import Slots
from tests.fakes.releases import wheel
from wire.desired import Release
from wire.manifest import FileEntry, Manifest, digest_of
from wire.release import ReleaseCard

MODULES = ("agent/__init__", "agent/daemon", "agent/composition", "agent/launcher", "outrider/__init__",
           "outrider/cli", "outrider/commands/__init__", "outrider/commands/agent")  # fmt: skip
INSTALLED = "0.1.0"


class Wheels:
    """A fetcher that has what was `added`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def add(self, version: str) -> str:
        """A release of one small wheel, with every module that an agent's start is tried by; its digest."""
        files = {f"{name}.py": f"VERSION = {version!r}\n".encode() for name in MODULES}
        made = wheel(self.folder, "outrider", version, files)
        content = made.read_bytes()
        made.unlink()
        card = ReleaseCard(
            version=version,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            platform=f"linux-{os.uname().machine}",
        )
        entry = FileEntry(path=made.name, sha256=self._object(content), size=len(content))
        return self._object(Manifest(files=(entry,), release=card).encode())

    def _object(self, content: bytes) -> str:
        digest = digest_of(content)
        (self.folder / digest[7:]).write_bytes(content)
        return digest

    async def vouched(self, _kind: str, _digest: str) -> None:
        return None

    async def fetch(self, digest: str, target: Path, **_limits: Any) -> None:
        write_atomic(target, (self.folder / digest[7:]).read_bytes())


async def prepare(state_dir: Path, digest: str) -> str:
    """:raises AgentError: it does not fit, or cannot be installed"""
    journal, slots, store = Journal(state_dir), Slots(state_dir), Store(state_dir)
    wheels = Wheels(state_dir.with_name("wheels"))
    journal.sweep()
    slots.sweep()
    slots.tidy(journal.phase)
    releases = Releases(slots, journal, store, install, lambda: look(Path(sys.executable)), INSTALLED)
    await store.fetch_model(digest, wheels, kind="release")
    await releases.prepare(Release(digest=digest), wheels)
    journal.close()
    return slots.holding(digest)


if __name__ == "__main__":
    print(asyncio.run(prepare(Path(sys.argv[1]), sys.argv[2])))
