"""Sees to it that one worker is on the chores while this replica leads: in this process while the fleet is small, else in a child.

A child that ends or hangs is started again with back-off; it ends with the lease under which it works and with the control plane.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from fleet import children
from fleet.clock import Clock, Ids
from fleet.config import Config
from fleet.confined import Bounds
from fleet.db import Database
from fleet.errors import FleetError
from fleet.keeper.chores import Chores
from fleet.keeper.fence import Fence, take
from fleet.keeper.job import Job, beat_of
from fleet.replicas import Alone, Replica

log = logging.getLogger(__name__)

POLL_S = 0.5
COUNT_S = 30.0
"""How often a small fleet is counted."""
HUNG_S = 180.0
"""A child that has not looked at the fleet for so long is ended; it says so every few seconds."""
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.5, 30.0
GOOD_RUN_S = 60.0
"""A child that worked for so long starts the back-off anew."""
COMMAND = (sys.executable, "-m", "fleet.keeper")


@dataclass
class KeeperFigures:
    """`process` is own, shared or none; `restarts` are ends of the child that nobody wanted."""

    process: str = "none"
    restarts: int = 0
    behind_s: float = 0.0


class Keeping:
    """`run` until cancelled. `url` is the database's, `count` gives the number of devices."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        config: Config,
        url: str,
        replica: Alone | Replica,
        count: Callable[[], int],
    ) -> None:
        self._database = database
        self._url = url
        self._clock = clock
        self._ids = ids
        self._config = config
        self._replica = replica
        self._count = count
        self._delay_s = BACKOFF_FIRST_S
        self._chores: Chores | None = None
        self._told = KeeperFigures()

    @property
    def figures(self) -> KeeperFigures:
        if self._chores is not None:
            self._told.behind_s = self._chores.history.behind_s
        return self._told

    async def run(self) -> None:
        while True:
            if self._replica.leads:
                try:
                    await self._term()
                except (FleetError, SQLAlchemyError) as e:
                    log.warning("work on health begins later", extra={"cause": str(e)[:300]})
                except Exception:  # the boundary: it is begun again
                    log.exception("work on health cannot be begun")
            await asyncio.sleep(POLL_S)

    async def _term(self) -> None:
        """As long as this replica leads under one lease, and the fleet is as small or large as it was."""
        held = self._replica.held
        large = await asyncio.to_thread(self._large)
        fence = await asyncio.to_thread(take, self._database, self._replica.check, held)
        self._told.process = "own" if large else "shared"
        work = asyncio.create_task(self._apart(fence) if large else self._inside(fence), name="chores")
        try:
            counted_mono = self._clock.mono()
            while self._replica.leads and self._replica.held == held and not work.done():
                await asyncio.wait({work}, timeout=POLL_S)
                if not large and self._clock.mono() - counted_mono > COUNT_S:
                    counted_mono = self._clock.mono()
                    if await asyncio.to_thread(self._large):
                        break
            if work.done():
                work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self._told.process, self._told.behind_s = "none", 0.0

    def _large(self) -> bool:
        return self._count() >= self._config.limits.keeper_devices

    async def _inside(self, fence: Fence) -> None:
        self._chores = Chores(
            self._database, self._clock, self._ids, self._config, lambda: self._replica.leads, fence.check
        )
        try:
            await self._chores.run()
        finally:
            self._chores = None

    # --- the child ----------------------------------------------------------------------------------------------------

    async def _apart(self, fence: Fence) -> None:
        """One child, until it ends; then a wait, which grows."""
        began_mono = self._clock.mono()
        async with _child() as process:
            cause = await self._follow(process, Job(self._url, self._config, fence))
        self._told.restarts += 1
        if self._clock.mono() - began_mono > GOOD_RUN_S:
            self._delay_s = BACKOFF_FIRST_S
        log.warning("the keeper's process %s; it is started again", cause, extra={"retry_s": self._delay_s})
        await asyncio.sleep(self._delay_s)
        self._delay_s = min(2 * self._delay_s, BACKOFF_MOST_S)

    async def _follow(self, process: asyncio.subprocess.Process, job: Job) -> str:
        """Give the child its job and listen; how it ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job.line())
            await process.stdin.drain()
            while line := await asyncio.wait_for(process.stdout.readline(), HUNG_S):
                self._told.behind_s = beat_of(line).behind_s
        except asyncio.TimeoutError:
            return f"has not worked for {HUNG_S:.0f} s"
        except (OSError, ValueError, KeyError) as e:
            return f"talks nonsense ({e})"
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), children.STOP_DEADLINE_S)
        return f"has ended with status {process.returncode}"


@contextlib.asynccontextmanager
async def _child() -> AsyncIterator[asyncio.subprocess.Process]:
    """Nothing of it is left after the block. What it logs goes where this process logs."""
    process = await asyncio.create_subprocess_exec(
        *Bounds().command(COMMAND),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await children.end(process)
