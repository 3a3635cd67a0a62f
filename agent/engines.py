"""An engine process as the agent sees it: what it was asked to load, how far it is, its figures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.config import Limits
from agent.errors import Transient, UpdateRefused
from agent.reconcile import EngineSpec
from agent.restraint import Restraint
from agent.supervise import Keeper
from wire import local
from wire.reasons import Reason

log = logging.getLogger(__name__)

MAX_ENDS = 3
"""A candidate whose process ends so often while it loads is given up."""


class EngineUnit:
    """A part for a keeper. `state` is starting, ok, failed or refused."""

    module = "runtime.model.process"
    keeper: Keeper

    def __init__(
        self,
        spec: EngineSpec,
        names: Callable[[str], str],
        package: Callable[[str], Path],
        socket: Path,
        cache_dir: Path,
        limits: Limits,
    ) -> None:
        self.spec = spec
        self.name = f"engine-{spec.key}"
        self.socket = socket
        self.state = "starting"
        self.reason: Reason | None = None
        self.message = ""
        self.phase = ""
        self.info: dict[str, object] = {}
        self.stats: local.EngineStats | None = None
        self._names = names
        self._package = package
        self._cache_dir = cache_dir
        self._limits = limits
        self._ends = 0
        self._changed = asyncio.Event()
        self._restraint: Restraint | None = None
        self.on_change: Callable[[], None] = lambda: None

    def hold_back(self) -> None:
        """Its process gets less than those that serve, from its start until `serve`."""
        self._restraint = Restraint()

    def serve(self) -> None:
        """Its process is one that serves."""
        if self._restraint is not None:
            self._restraint.release()
            self._restraint = None

    def greeting(self) -> local.Message:
        if self._restraint is not None and self.keeper.pid is not None:
            self._restraint.apply(self.keeper.pid)
        # A socket that a killed process left behind would only look like an engine.
        self.socket.unlink(missing_ok=True)
        options = self.spec.options
        models = [
            local.EngineModel(self._names(digest), digest, str(self._package(digest)))
            for digest in self.spec.digests
        ]
        return local.Load(
            models,
            str(self.socket),
            options.engine,
            options.threads,
            options.spinning,
            options.max_batch,
            str(self._cache_dir),
            options.precision,
        )

    def received(self, message: local.Message) -> None:
        if isinstance(message, local.EngineStats):
            self.stats = message
        elif isinstance(message, local.EnginePhase):
            self.phase = message.phase
        elif isinstance(message, local.EngineUp):
            self.info = message.info
            self._ends = 0
            log.info("engine serves", extra={"engine": self.spec.key, "load_s": round(message.load_s, 2)})
            self._become("ok", None, "")
        elif isinstance(message, local.EngineRefused):
            reason = reason_of(message.reason)
            self._become("failed" if message.transient else "refused", reason, message.message)

    def ended(self, cause: Reason) -> None:
        self.stats = None
        self._ends += 1
        if self.state != "refused":
            reason = Reason.ENGINE_TIMEOUT if cause is Reason.PIPELINE_HUNG else Reason.ENGINE_DOWN
            self._become("failed", self.reason or reason, self.message or reason.text)

    def silence_s(self) -> float:
        return self._limits.silent_s if self.state == "ok" else self._limits.load_silent_s

    def retry_s(self) -> float | None:
        return self._limits.refused_retry_s if self.state == "refused" else None

    def proven(self) -> bool:
        return self.state == "ok"

    async def until_up(self) -> None:
        """Wait until the engine serves; a failure that may pass is waited out, so the caller sets the deadline.

        :raises UpdateRefused: the engine refuses a model
        """
        while self.state != "ok":
            if self.state == "refused":
                raise UpdateRefused(self.reason or Reason.MODEL_LOAD_FAILED, self.message)
            if self._ends >= MAX_ENDS:
                raise UpdateRefused(
                    self.reason or Reason.ENGINE_DOWN,
                    f"the engine process ended {self._ends} times while loading: {self.message}",
                )
            self._changed.clear()
            await self._changed.wait()

    def why_not_up(self) -> Transient:
        """What to report when the deadline is over."""
        what = self.message or f"the engine is still {self.phase or 'starting'}"
        return Transient(self.reason or Reason.PREPARE_TIMEOUT, what)

    def _become(self, state: str, reason: Reason | None, message: str) -> None:
        self.state, self.reason, self.message = state, reason, message
        self._changed.set()
        self.on_change()


def reason_of(code: str) -> Reason:
    """The reason code a child named, or INTERNAL where it is none of the list."""
    try:
        return Reason(code)
    except ValueError:
        return Reason.INTERNAL
