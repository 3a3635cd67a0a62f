"""Events on their way from one pipeline process into the outbox: acknowledged once committed, in order, none skipped."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import AgentError, Transient
from wire.local import Event, Publication
from wire.reasons import Reason

log = logging.getLogger(__name__)

MAX_UNKEPT = 2048
"""A pipeline sends at most a few hundred before it waits for us; more is a process out of its mind."""


@dataclass
class _Pending:
    event: Event | Publication
    commit: asyncio.Future[bool] | None = None


class Intake:
    """`keep` commits an event; `acknowledge` tells the process the last number of an unbroken row of commits.

    While `held`, events wait here: those of a candidate count only once it is committed.
    """

    def __init__(
        self,
        keep: Callable[[Event | Publication], asyncio.Future[bool]],
        acknowledge: Callable[[int], None],
        *,
        held: bool = False,
    ) -> None:
        self._keep = keep
        self._acknowledge = acknowledge
        self._held = held
        self._pending: deque[_Pending] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, event: Event | Publication) -> None:
        """:raises Transient: the process does not wait for acknowledgements; start it anew"""
        if len(self._pending) >= MAX_UNKEPT:
            raise Transient(
                Reason.INTERNAL, f"{len(self._pending)} events wait to be kept; at most {MAX_UNKEPT} may"
            )
        self._pending.append(_Pending(event))
        if not self._held:
            self._submit(self._pending[-1])

    def release(self) -> None:
        """The candidate has been committed: its events count."""
        self._held = False
        self.retry()

    def retry(self) -> None:
        """Try once more what could not be committed."""
        if self._held:
            return
        for pending in self._pending:
            if pending.commit is None:
                self._submit(pending)

    def forget(self) -> None:
        """The process is gone: nobody waits for an acknowledgement. What was submitted is committed all the same."""
        self._pending.clear()

    def _submit(self, pending: _Pending) -> None:
        try:
            pending.commit = self._keep(pending.event)
        except AgentError as e:
            log.warning("event cannot be kept yet", extra={"camera": pending.event.camera, "cause": str(e)})
            return
        pending.commit.add_done_callback(lambda done: self._done(pending, done))

    def _done(self, pending: _Pending, commit: asyncio.Future[bool]) -> None:
        if commit.cancelled() or commit.exception() is not None:
            pending.commit = None
            return
        kept = 0
        while self._pending and self._committed(self._pending[0]):
            kept = self._pending.popleft().event.number
        if kept:
            self._acknowledge(kept)

    @staticmethod
    def _committed(pending: _Pending) -> bool:
        commit = pending.commit
        return commit is not None and commit.done() and not commit.cancelled() and commit.exception() is None
