"""What ends the agent on command: a restart of the machine, or the removal of everything it keeps. Both answer first.

An ordered wipe is written down before it is answered, so that a power cut does not save what was to go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.config import Config
from agent.errors import AgentError, Refused
from agent.files import DISK, write_atomic
from wire.reasons import Reason

log = logging.getLogger(__name__)

ORDER = "wipe-ordered"
ANSWER_S = 15.0
LOOK_S = 0.2
REBOOT_S = 30.0


class Farewell:
    """`handlers` are the commands; `run` does what was ordered, once the answer is with the broker or too late."""

    def __init__(
        self,
        config: Config,
        device: str,
        clock: Clock,
        waiting: Callable[[], Awaitable[int]],
        stop: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`waiting` is how many answers the broker has not got yet, one given just now counted; `stop` ends the agent."""
        self._config = config
        self._device = device
        self._clock = clock
        self._waiting = waiting
        self._stop = stop
        self._sleep = sleep
        self._ordered: asyncio.Queue[str] = asyncio.Queue(maxsize=1)

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {"reboot": self._reboot, "wipe": self._wipe}

    def _wipe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """:raises Refused: the confirmation is not this device's name"""
        if arguments.get("confirm") != self._device:
            raise Refused(
                Reason.INVALID_FIELD,
                f"wipe needs the argument confirm with this device's name, {self._device!r}: nothing was removed",
            )
        write_atomic(self._config.state_dir / ORDER, self._device.encode())
        self._order("wipe")
        return {"removes": "identity, keys, secrets, models, workflows, clips, everything not sent yet"}

    def _reboot(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        """:raises Refused: the device's own file does not allow it"""
        if not self._config.allow_reboot:
            raise Refused(
                Reason.NOT_ALLOWED, "this device is not restarted by command; allow_reboot in its agent.toml"
            )
        self._order("reboot")
        return {"reboots": True}

    def _order(self, what: str) -> None:
        if self._ordered.full():
            raise Refused(Reason.NOT_ALLOWED, "this device is ending already")
        self._ordered.put_nowait(what)

    async def run(self) -> None:
        while True:
            what = await self._ordered.get()
            until_mono = self._clock.mono() + ANSWER_S
            while await self._unanswered() and self._clock.mono() < until_mono:
                await self._sleep(LOOK_S)
            if what == "wipe":
                self._stop()
            else:
                await self._restart_machine()

    async def _unanswered(self) -> bool:
        try:
            return await self._waiting() > 0
        except AgentError:  # the outbox does not work now: it is to have the whole time
            return True

    async def _restart_machine(self) -> None:
        log.warning("the machine is restarted by command")
        command = shlex.split(self._config.reboot_command)
        try:
            process = await asyncio.create_subprocess_exec(*command)
            status = await asyncio.wait_for(process.wait(), REBOOT_S)
        except (OSError, asyncio.TimeoutError) as e:
            log.error("the machine does not restart", extra={"cause": str(e) or type(e).__name__})
            return
        if status:
            log.error("the machine does not restart", extra={"status": status})


def is_ordered(state_dir: Path) -> bool:
    """Whether a wipe was ordered and is not done yet."""
    return (state_dir / ORDER).exists()


def wipe(config: Config) -> None:
    """Remove everything in the state and run directories; the order goes last. Nobody may work there.

    :raises OSError: something cannot be removed
    """
    for folder in (config.run_dir, config.state_dir):
        for entry in sorted(folder.iterdir(), key=lambda path: path.name == ORDER):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        DISK.sync_directory(folder)
    log.warning("this device is wiped", extra={"state_dir": str(config.state_dir), "pid": os.getpid()})
