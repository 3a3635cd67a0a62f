"""The agent's own release as part of a revision: judged, installed into the other slot, started on trial, taken back with its revision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.errors import AgentError, UpdateRefused
from agent.store import Fetcher, Store
from agent.update.fitness import is_older, unfit
from agent.update.ground import Refusal
from agent.update.installed import Installed
from agent.update.journal import Journal
from agent.update.slots import Slots
from wire.desired import Desired, Release
from wire.manifest import Manifest
from wire.problem import Problem
from wire.reasons import Reason
from wire.release import ReleaseCard

log = logging.getLogger(__name__)

UNPACKED = 4
"""Times the size of its wheels, a release needs on disk at most: numpy, OpenCV and ONNX Runtime unpack to three times theirs."""

Install = Callable[[Path, Path, ReleaseCard, Installed], Awaitable[None]]
"""Wheels in a directory → a virtual environment in another, durable when it returns. Raises AgentError, OSError."""
Look = Callable[[], Awaitable[Installed]]


class Releases:
    """`on_restart` ends the agent in good order, to be started anew by the launcher; `restarting` from when that is decided.

    `look` tells of the installation, `version` is that of the agent that runs.
    """

    def __init__(
        self,
        slots: Slots,
        journal: Journal,
        store: Store,
        install: Install,
        look: Look,
        version: str,
        keep_free_bytes: int = 0,
    ) -> None:
        self.on_restart: Callable[[], None] = lambda: None
        self._slots = slots
        self._journal = journal
        self._store = store
        self._install = install
        self._look = look
        self._version = version
        self._keep_free_bytes = keep_free_bytes
        self.restarting = False

    async def admit(self, wanted: Release | None, fetcher: Fetcher) -> Refusal | None:
        """Why the release does not fit here, before its wheels are fetched; None where nothing speaks against it.

        A manifest that cannot be had is left to the fetching.
        """
        if wanted is None or self._is_current(wanted):
            return None
        manifest = None
        if wanted.digest is not None:
            try:
                manifest = await self._store.manifest(wanted.digest, fetcher, "release")
            except AgentError as e:
                log.info("a release's manifest cannot be had yet", extra={"cause": str(e)})
                return None
        problems = await self._against(wanted, manifest)
        if manifest is not None and not problems:
            problems = await asyncio.to_thread(self._room, manifest)
        if not problems:
            return None
        told = tuple(problem.to_json() for problem in problems)
        return Refusal(problems[0].reason, "; ".join(map(str, problems)), told)

    async def prepare(self, wanted: Release, fetcher: Fetcher) -> None:
        """Have the release whole in a slot.

        :raises AgentError: it does not fit, or cannot be installed; the slot is empty then
        """
        if wanted.digest is None or self._slots.holding(wanted.digest):
            return
        manifest = await self._store.manifest(wanted.digest, fetcher, "release")
        if problems := await self._against(wanted, manifest):
            raise UpdateRefused(problems[0].reason, "; ".join(map(str, problems)), problems)
        assert manifest.release is not None
        slot = ""
        try:
            slot = await asyncio.to_thread(self._slots.begin)  # thousands of files of a former release go
            wheels = self._store.model_path(wanted.digest)
            await self._install(wheels, self._slots.path(slot), manifest.release, await self._look())
            self._slots.finish(slot, wanted.digest)
        except OSError as e:
            await self._give_up(slot)
            raise UpdateRefused(Reason.DISK_FULL, f"the release cannot be installed: {e}") from e
        except BaseException:
            await self._give_up(slot)
            raise

    async def _give_up(self, slot: str) -> None:
        """Its room is needed by others."""
        with contextlib.suppress(OSError):
            if slot:
                await asyncio.to_thread(self._slots.empty, slot)

    def _is_current(self, wanted: Release) -> bool:
        return (wanted.digest or "") == self._slots.running_digest

    async def _against(self, wanted: Release, manifest: Manifest | None) -> list[Problem]:
        installed = await self._look()
        if manifest is None:
            version = installed.found.get("outrider", self._version)
            if wanted.allow_downgrade or not is_older(version, self._version):
                return []
            words = f"the installed agent is {version}, older than {self._version}, which runs"
            return [
                Problem(
                    "agent", Reason.RELEASE_OLDER, words, remedy="say allow_downgrade where that is meant"
                )
            ]
        if manifest.release is None:
            return [Problem("agent", Reason.RELEASE_INVALID, "its manifest does not say what it is made for")]
        return unfit(
            manifest.release, installed.machine(self._version), allow_downgrade=wanted.allow_downgrade
        )

    def _room(self, manifest: Manifest) -> list[Problem]:
        """What is missing is fetched, and all of it unpacked into the slot that is emptied first."""
        missing = sum(e.size for e in manifest.files if not self._store.object_path(e.sha256).exists())
        needed = missing + UNPACKED * manifest.total_bytes
        path = self._slots.path(self._slots.spare)
        free = (
            shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free
            - self._keep_free_bytes
        )
        if needed <= free or needed <= free + _size(path):
            return []
        return [
            Problem(
                "agent", Reason.DISK_FULL, f"the release needs {needed} bytes, {max(free, 0)} may be used"
            )
        ]

    def change(self, desired: Desired, running: Desired | None) -> bool:
        """Have the release start next, on trial; whether that is a change.

        :raises OSError: no room
        """
        assert desired.agent is not None
        digest = desired.agent.digest
        slot = self._slots.holding(digest) if digest else ""
        self.restarting = slot != self._slots.current
        self._slots.change(slot, desired.revision, running.revision if running else 0)
        return self.restarting

    def restart_if_changed(self) -> bool:
        """Whether the agent ends now to start anew."""
        if self.restarting:
            log.info("the agent starts anew with another release")
            self.on_restart()
        return self.restarting

    def on_trial(self, revision: int) -> bool:
        """Whether the agent that runs came with this revision."""
        pending = self._slots.pending()
        return pending is not None and pending.revision == revision

    def go_back(self, revision: int) -> bool:
        """Take a change on trial back; whether the agent ends now to start anew."""
        if not self.on_trial(revision) or not self._slots.go_back():
            return False
        self.restarting = True
        return self.restart_if_changed()

    def tidy(self) -> None:
        """Let a change on trial follow the end of its revision."""
        if self._slots.tidy(self._journal.phase):
            self.restarting = True
            self.restart_if_changed()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
