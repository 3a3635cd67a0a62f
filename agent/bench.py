"""The command `bench`: measures a model of this device in a child of low priority, beside what serves. One at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.engines import reason_of
from agent.errors import Degraded, Refused, Transient
from agent.store import Store
from wire import local
from wire.bench import BenchOrder
from wire.desired import Desired, EngineOptions
from wire.doc import read
from wire.errors import Malformed, WireError
from wire.problem import nearest
from wire.reasons import Reason

NICE = 10
"""The cameras come first."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Bench:
    """`running` is the applied desired state, `store` where its models lie."""

    def __init__(
        self,
        running: Callable[[], Desired | None],
        store: Store,
        cache_dir: Path,
        run_dir: Path,
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        self._running = running
        self._store = store
        self._cache_dir = cache_dir
        self._run_dir = run_dir
        self._python = tuple(python)
        self._busy = ""

    async def run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The figures, in the form of `wire.bench.BenchFigures`.

        :raises Refused: the arguments, the model, or the engine cannot be used
        :raises Transient: another one runs
        :raises Degraded: it crashed, or took too long
        """
        try:
            order = read(BenchOrder, arguments)
        except WireError as e:
            raise Refused(Reason.INVALID_FIELD, str(e), getattr(e, "problems", ())) from e
        command = self._command(order)
        if self._busy:
            raise Transient(Reason.BENCH_RUNNING, f"model {self._busy!r} is being measured; ask again later")
        self._busy = order.model
        try:
            return await self._measure(command, order.deadline_s)
        finally:
            self._busy = ""

    def _command(self, order: BenchOrder) -> list[str]:
        digest, options = self._model(order.model)
        package = self._store.model_path(digest)
        if not package.is_dir():
            raise Refused(
                Reason.UNKNOWN_REFERENCE,
                f"the device does not hold {digest[:19]}; put it into its desired state first",
            )
        threads = options.threads if order.threads is None else order.threads
        return [
            *self._python, "-m", "runtime.bench", str(package), "--digest", digest, "--nice", str(NICE),
            "--engine", order.engine or options.engine,
            "--precision", order.precision or options.precision,
            "--threads", str(threads),
            "--batches", ",".join(map(str, order.batches)),
            "--cameras", ",".join(map(str, order.cameras)),
            "--seconds", str(order.seconds),
            "--cache-dir", str(self._cache_dir),
        ]  # fmt: skip

    def _model(self, name: str) -> tuple[str, EngineOptions]:
        running = self._running()
        models = running.models if running else {}
        if name in models:
            return models[name].digest, models[name].engine
        if DIGEST.fullmatch(name):
            return name, next((m.engine for m in models.values() if m.digest == name), EngineOptions())
        hint = nearest(name, models)
        words = (
            f"no model of the running state is called {name!r}; known: {', '.join(sorted(models)) or 'none'}"
        )
        raise Refused(Reason.UNKNOWN_REFERENCE, f"{words}; {hint}" if hint else words)

    async def _measure(self, command: Sequence[str], deadline_s: float) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            try:
                # A child that is killed leaves its scratch behind: it lies in here.
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=self._run_dir))
                child = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={**os.environ, "TMPDIR": scratch},
                )
            except OSError as e:
                raise Degraded(Reason.BENCH_FAILED, f"the benchmark cannot be started: {e}") from e
            return await _answer(child, deadline_s)


async def _answer(child: asyncio.subprocess.Process, deadline_s: float) -> dict[str, Any]:
    """What it prints; it has ended when this returns, whatever happens."""
    try:
        output, _ = await asyncio.wait_for(child.communicate(), deadline_s)
    except asyncio.TimeoutError:
        raise Degraded(
            Reason.BENCH_FAILED,
            f"the benchmark was not done within {deadline_s:g} s; ask for fewer seconds, batches or cameras",
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()  # its own children die with it
        await child.wait()
    return _figures(output, child.returncode)


def _figures(output: bytes, status: int | None) -> dict[str, Any]:
    lines = output.splitlines()
    try:
        result = local.decode(lines[-1]) if lines else None
    except Malformed:
        result = None
    if not isinstance(result, local.BenchResult):
        raise Degraded(Reason.BENCH_FAILED, f"the benchmark ended with status {status} and no figures")
    if not result.ok:
        raise Refused(reason_of(result.reason), result.message)
    return result.figures
