"""Asks trust metadata whether an artifact is genuine, keeps that metadata fresh, and says whose keys sign desired states.

Where enrolment gave no root (a control plane without trust metadata), the digests of the signed desired state are all there is.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

from agent.backoff import Backoff
from agent.clock import Clock
from agent.download import Downloader
from agent.errors import AgentError, ArtifactRefused, MetadataRefused, Transient
from agent.metadata import Metadata, Source
from wire.reasons import Reason
from wire.targets import Kind, target_path

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""Within one update, metadata is not fetched again for each artifact."""
FIRST_REFRESH_S = 60.0
"""After its start an agent waits a part of this, so that a thousand of them do not ask at once."""

Trouble = Callable[[Reason, str], None]


class Vouch:
    """On the loop's thread. `trouble` is told of each try that failed."""

    def __init__(
        self,
        metadata: Metadata | None,
        source: Source,
        pinned_state_keys: Mapping[str, bytes],
        clock: Clock,
        backoff: Callable[[], Backoff],
        *,
        refresh_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._metadata = metadata
        self._source = source
        self._pinned = dict(pinned_state_keys)
        self._clock = clock
        self._backoff = backoff
        self._refresh_s = refresh_s
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._fresh_mono: float | None = None
        self._failure: Reason | None = None
        self.trouble: Trouble = lambda _reason, _why: None

    @property
    def has_root(self) -> bool:
        """Whether there is a root to learn other keys from."""
        return self._metadata is not None

    @property
    def failure(self) -> Reason | None:
        """Why the last refresh failed."""
        return self._failure

    def state_keys(self) -> Mapping[str, bytes]:
        """Who may sign desired states and commands: named under the root, or else pinned at enrolment."""
        return (self._metadata.state_keys if self._metadata else None) or self._pinned

    async def vouched(self, kind: Kind, digest: str) -> int | None:
        """The signed length of an artifact in bytes; None where there is no root. Tries again for ever where that may help.

        :raises ArtifactRefused: nobody vouches for it, or the metadata cannot be believed
        """
        if self._metadata is None:
            return None
        backoff = self._backoff()
        while True:
            try:
                return await self._length(self._metadata, kind, digest)
            except MetadataRefused as e:
                raise ArtifactRefused(e.reason, f"{kind} {digest[:19]}: {e}") from e
            except Transient as e:
                delay_s = backoff.next_s()
                self.trouble(e.reason, str(e))
                log.warning(
                    "trust metadata cannot be fetched", extra={"cause": str(e), "retry_s": round(delay_s, 1)}
                )
                await self._sleep(delay_s)

    async def lengths(self, artifacts: Iterable[tuple[Kind, str]], source: Source) -> dict[str, int] | None:
        """The signed lengths of artifacts under what a source brings, once; None where there is no root. Who is not in it is not vouched for.

        :raises MetadataRefused, Transient, OSError: as `Metadata.refresh`
        """
        if self._metadata is None:
            return None
        found = {}
        async with self._lock:
            await self._refresh(self._metadata, source)
            for kind, digest in artifacts:
                target = await self._metadata.target(target_path(kind, digest), source)
                if target is not None:
                    found[digest] = target.length
        return found

    async def refresh(self, source: Source | None = None) -> None:
        """Fetch what is new.

        :raises MetadataRefused, Transient, OSError: as `Metadata.refresh`
        """
        if self._metadata is None:
            return
        async with self._lock:
            await self._refresh(self._metadata, source or self._source)

    async def run(self) -> None:
        """Learn of other keys in time, and say so when metadata ends; until cancelled."""
        if self._metadata is None:
            await asyncio.Event().wait()
        await self._sleep(random.random() * FIRST_REFRESH_S)
        while True:
            try:
                await self.refresh()
            except (AgentError, OSError) as e:
                log.debug("trust metadata was not refreshed", extra={"cause": str(e)})
            await self._sleep(self._refresh_s * (0.9 + 0.2 * random.random()))

    async def _length(self, metadata: Metadata, kind: Kind, digest: str) -> int:
        path = target_path(kind, digest)
        async with self._lock:
            if self._is_fresh() and (found := await metadata.target(path, self._source)) is not None:
                return found.length
            await self._refresh(metadata, self._source)
            if (found := await metadata.target(path, self._source)) is not None:
                return found.length
        raise ArtifactRefused(
            Reason.TARGET_UNKNOWN,
            f"no trust metadata vouches for {kind} {digest[:19]}: upload it, have it signed, publish again",
        )

    async def _refresh(self, metadata: Metadata, source: Source) -> None:
        self._fresh_mono = None
        try:
            await metadata.refresh(source)
        except AgentError as e:
            if e.reason is not self._failure and not isinstance(e, Transient):
                log.error("trust metadata is refused", extra={"reason": e.reason.value, "cause": str(e)})
            self._failure = e.reason
            raise
        self._failure = None
        if source is self._source:
            self._fresh_mono = self._clock.mono()

    def _is_fresh(self) -> bool:
        return self._fresh_mono is not None and self._clock.mono() - self._fresh_mono < FRESH_S


class TrustedFetcher:
    """Where artifacts come from: metadata vouches for them, and what it vouches for is downloaded."""

    def __init__(self, vouch: Vouch, downloader: Downloader) -> None:
        self._vouch = vouch
        self.fetch = downloader.fetch

    async def vouched(self, kind: Kind, digest: str) -> int | None:
        return await self._vouch.vouched(kind, digest)
