"""`python -m fleet.keeper`: the chores as a process of its own, so that they do not compute in the interpreter that takes messages in.

Its job comes on standard input; the end of that, like SIGTERM, ends it. It dies with the control plane that has started it.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from fleet.clock import RandomIds, SystemClock
from fleet.db import Database
from fleet.keeper.chores import Chores
from fleet.keeper.job import Beat, Job, job_of

BEAT_S = 2.0


async def keep(job: Job) -> None:
    """Work until told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = Database(job.database)
    chores = Chores(
        database, SystemClock(), RandomIds(), job.config, lambda: not stop.is_set(), job.fence.check
    )
    works = (chores.run(), _tell(chores), _until_closed(stop), _until_set(stop))
    tasks = {asyncio.create_task(work) for work in works}
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_default_executor()
    database.close()
    for task in done:
        task.result()


async def _until_set(stop: asyncio.Event) -> None:
    await stop.wait()


async def _until_closed(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    stop.set()


async def _tell(chores: Chores) -> None:
    """Say that the work goes on, while it does."""
    told = -1
    while True:
        if chores.watch.passes != told:
            told = chores.watch.passes
            sys.stdout.buffer.write(Beat(chores.history.behind_s).line())
            sys.stdout.buffer.flush()
        await asyncio.sleep(BEAT_S)


def main() -> None:
    line = sys.stdin.buffer.readline()
    if line:
        asyncio.run(keep(job_of(line)))


if __name__ == "__main__":
    main()
