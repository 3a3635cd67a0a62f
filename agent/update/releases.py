"""The agent's own release as part of a revision: installed into the other slot, started on trial, taken back with its revision."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.errors import UpdateRefused
from agent.store import Store
from agent.update.journal import Journal
from agent.update.slots import Slots
from wire.desired import Desired
from wire.reasons import Reason

log = logging.getLogger(__name__)

Install = Callable[[Path, Path], Awaitable[None]]
"""Wheels in a directory → a virtual environment in another, durable when it returns. Raises AgentError, OSError."""


class Releases:
    """`on_restart` ends the agent in good order, to be started anew by the launcher; `restarting` from when that is decided."""

    def __init__(self, slots: Slots, journal: Journal, store: Store, install: Install) -> None:
        self.on_restart: Callable[[], None] = lambda: None
        self._slots = slots
        self._journal = journal
        self._store = store
        self._install = install
        self.restarting = False

    async def prepare(self, digest: str) -> None:
        """Have the release whole in a slot.

        :raises AgentError: it cannot be installed
        """
        if self._slots.holding(digest):
            return
        slot = self._slots.begin()
        try:
            await self._install(self._store.model_path(digest), self._slots.path(slot))
        except OSError as e:
            raise UpdateRefused(Reason.RELEASE_FAILED, f"the release cannot be installed: {e}") from e
        self._slots.finish(slot, digest)

    def change(self, desired: Desired, running: Desired | None) -> bool:
        """Have the release start next, on trial; whether that is a change.

        :raises OSError: no room
        """
        assert desired.agent is not None
        slot = self._slots.holding(desired.agent.digest)
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
