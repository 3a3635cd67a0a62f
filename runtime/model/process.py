"""`python -m runtime.model.process --link-fd N`: an engine process, started by the agent.

Loads the models of its `Load` message, warms and checks them, says so or refuses, then serves pipelines until it is told to
stop or the agent is gone. Its statistics come from the serving loop itself, once a second, and stop while a run takes far too
long, so that silence means a hang.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import LinkFull, RuntimeFault
from runtime.lifeline import Termination, hold
from runtime.link import Link
from runtime.model.serving import Runnable, Server
from runtime.results import NoAnswer
from wire import local
from wire.errors import Malformed
from wire.reasons import Reason

logger = logging.getLogger(__name__)

LOAD_DEADLINE_S = 30.0
"""For the first message to come."""
STATS_PERIOD_S = 1.0
SLOW_RUN_S = 2.0
"""A run that takes longer is not spoken over: should it hang, the agent's deadline for silence begins here."""
DRAIN_DEADLINE_S = 5.0
"""For the answers under way when the process is told to stop."""
REFUSED_STATUS = 3
"""Exit status of a process that cannot serve what it was given; starting it again would not help."""
SPOILED_STATUS = 4
"""Exit status of a process whose GPU can be used no more; a new one may have better luck."""
AGENT_GONE_STATUS = 1
_SOCKET_PATH_BYTES = 107
"""sun_path of unix(7), less its zero byte."""


@dataclass
class Loaded:
    """Models by digest, and how long each stage took in all."""

    models: dict[str, Runnable] = field(default_factory=dict)
    stage_s: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("loading", "warming", "checking"), 0.0)
    )
    info: dict[str, Any] = field(default_factory=dict)


class NotServing(Exception):
    """The process cannot serve; `refusal` says why."""

    def __init__(self, refusal: local.EngineRefused) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def load(order: local.Load, tell: Callable[[local.Message], object], clock: Callable[[], float]) -> Loaded:
    """Load, warm and check every model of the order, telling each phase.

    :raises NotServing: with the first model that cannot serve
    """
    loaded = Loaded()
    for model in order.models:
        with _refusing(model.digest):
            _load_one(order, model, loaded, tell, clock)
    return loaded


def _load_one(
    order: local.Load,
    model: local.EngineModel,
    loaded: Loaded,
    tell: Callable[[local.Message], object],
    clock: Callable[[], float],
) -> None:
    from runtime.model.session import LoadedModel, LoadOptions

    @contextlib.contextmanager
    def stage(phase: str) -> Any:
        tell(local.EnginePhase(model.digest, phase))
        started_mono = clock()
        yield
        loaded.stage_s[phase] += clock() - started_mono

    cache_dir = Path(order.cache_dir) if order.cache_dir else None
    options = LoadOptions(
        order.engine,
        order.threads,
        order.spinning,
        order.max_batch,
        cache_dir,
        precision=order.precision,
        measure_s=order.measure_s,
        progress=lambda words: tell(local.EnginePhase(model.digest, f"loading: {words}")),
    )
    with stage("loading"):
        engine = LoadedModel(Path(model.package), options)
    with stage("warming"):
        engine.warm()
        engine.arrange()
    with stage("checking"):
        golden = engine.check_golden()
    loaded.models[model.digest] = engine
    loaded.info[model.name] = {"digest": model.digest, "golden": golden, **engine.info}


@contextlib.contextmanager
def _refusing(digest: str) -> Any:
    """Turn whatever loading raises into a refusal: a supervision boundary, since model files come from outside."""
    try:
        yield
    except RuntimeFault as e:
        text = "; ".join(map(str, e.problems)) or str(e)
        passing = e.reason is Reason.GPU_FAULT  # a new process has a new context
        raise NotServing(local.EngineRefused(digest, e.reason.value, text, transient=passing)) from e
    except (MemoryError, OSError) as e:
        reason = Reason.OUT_OF_MEMORY if isinstance(e, MemoryError) else Reason.MODEL_LOAD_FAILED
        raise NotServing(local.EngineRefused(digest, reason.value, _words(e), transient=True)) from e
    except Exception as e:  # the boundary: an inference library may raise anything
        logger.exception("model cannot be loaded", extra={"digest": digest})
        raise NotServing(local.EngineRefused(digest, Reason.MODEL_LOAD_FAILED.value, _words(e))) from e


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class Listener:
    """The UNIX socket pipelines attach to. Takes over the path from a process that died; leaves it to one that took it over."""

    def __init__(self, path: str) -> None:
        """:raises OSError: the path is too long, or its directory cannot be written"""
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
            raise OSError(
                f"socket path {path!r} is longer than {_SOCKET_PATH_BYTES} bytes: use a shorter directory"
            )
        self._path = Path(path)
        # Bound aside and renamed, so that a pipeline never meets a socket that does not listen yet.
        aside = self._path.with_name(f".{os.getpid()}")
        aside.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        old_umask = os.umask(0o177)
        try:
            self.socket.bind(str(aside))
        finally:
            os.umask(old_umask)
        self.socket.listen(socket.SOMAXCONN)
        self._inode = aside.stat().st_ino
        aside.rename(self._path)

    def withdraw(self) -> None:
        """Remove the path, so that nobody finds us any more."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


class EngineProcess:
    """The serving part of the process' life: the server's loop, the link and SIGTERM."""

    def __init__(
        self,
        server: Server,
        link: Link,
        termination: Termination,
        clock: Callable[[], float] = time.monotonic,
        rss_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._server = server
        self._link = link
        self._clock = clock
        self._rss_bytes = rss_bytes or own_rss_bytes
        self._stopping = False
        server.watch(link.fileno(), lambda _events: self._obey())
        server.watch(termination.fileno(), lambda _events: self._stop())

    def run(self) -> int:
        """Serve until told to stop, until the agent is gone, or until nothing can be run any more; the exit status."""
        next_stats_mono = self._clock()
        while not self._stopping and not self._link.closed:
            at_mono = self._clock()
            if at_mono >= next_stats_mono:
                running_mono = self._server.running_since_mono
                if running_mono is None or at_mono - running_mono <= SLOW_RUN_S:
                    self._tell_stats(at_mono)
                next_stats_mono = at_mono + STATS_PERIOD_S
            self._server.step(next_stats_mono - at_mono)
            if self._server.spoiled is not None:
                self._tell_spoiled(self._server.spoiled)
                return SPOILED_STATUS
        return AGENT_GONE_STATUS if self._link.closed else 0

    def _tell_spoiled(self, answer: NoAnswer) -> None:
        logger.error("engine process ends itself: %s", answer.message)
        self._link.send(local.EngineRefused("", answer.reason.value, answer.message, transient=True))
        self._link.flush(deadline_s=1.0)

    def _obey(self) -> None:
        for message in self._link.receive():
            if isinstance(message, local.Stop):
                self._stop()
            elif isinstance(message, local.Unload):
                self._server.unload(message.digest)
            else:
                logger.warning("message not for an engine: %s", type(message).__name__)

    def _stop(self) -> None:
        self._stopping = True

    def _tell_stats(self, at_mono: float) -> None:
        figures = self._server.figures
        oldest_mono = self._server.oldest_mono
        latencies_ms = sorted(1000 * latency_s for latency_s in figures.latencies_s)
        self._link.send(
            local.EngineStats(
                requests=figures.requests,
                batches=figures.batches,
                errors=figures.errors,
                infer_p50_ms=_quantile(latencies_ms, 0.5),
                infer_p95_ms=_quantile(latencies_ms, 0.95),
                attached=self._server.attached,
                busy_s=0.0 if oldest_mono is None else at_mono - oldest_mono,
                rss_bytes=self._rss_bytes(),
            )
        )
        self._link.flush()


def _quantile(ordered: list[float], share: float) -> float:
    """By nearest rank; 0 where there is nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def own_rss_bytes() -> int:
    """Resident memory of this process, from proc(5)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def receive_load(link: Link, clock: Callable[[], float] = time.monotonic) -> local.Load | None:
    """The first message, or None when the agent goes away or stays silent."""
    deadline_mono = clock() + LOAD_DEADLINE_S
    while not link.closed and (left_s := deadline_mono - clock()) > 0:
        messages = link.wait(left_s)
        if any(isinstance(message, local.Stop) for message in messages):
            return None
        for message in messages:
            if isinstance(message, local.Load):
                return message
    return None


def _listen(order: local.Load) -> Listener:
    """:raises NotServing: the socket cannot be made"""
    try:
        return Listener(order.socket)
    except OSError as e:
        digest = order.models[0].digest if order.models else ""
        text = f"socket {order.socket!r} cannot be made: {e}"
        raise NotServing(local.EngineRefused(digest, Reason.INTERNAL.value, text, transient=True)) from e


def work(link: Link, termination: Termination, clock: Callable[[], float] = time.monotonic) -> int:
    """The whole life of the process; its exit status."""
    order = receive_load(link, clock)
    if order is None:
        return AGENT_GONE_STATUS
    try:
        loaded = load(order, link.send, clock)
        listener = _listen(order)
    except NotServing as e:
        link.send(e.refusal)
        link.flush(deadline_s=DRAIN_DEADLINE_S)
        return REFUSED_STATUS
    # What loading made stays for good: the collector need not walk over it again between two frames.
    gc.collect()
    gc.freeze()
    server = Server(loaded.models, listener.socket, max_batch=order.max_batch, clock=clock)
    process = EngineProcess(server, link, termination, clock)
    stage_s = loaded.stage_s
    link.send(
        local.EngineUp(os.getpid(), stage_s["loading"], stage_s["warming"], stage_s["checking"], loaded.info)
    )
    try:
        return process.run()
    finally:
        listener.withdraw()
        server.finish(DRAIN_DEADLINE_S)
        link.flush(deadline_s=1.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runtime.model.process", description="an engine process")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited socket to the agent")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    link = Link(arguments.link_fd)
    try:
        return work(link, hold(link.socket))
    except (Malformed, LinkFull, RuntimeFault) as e:
        logger.error("engine process ends: %s", e)
        return AGENT_GONE_STATUS


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Inference libraries take long to tear down, and some crash doing so; the system takes everything back at once.
    os._exit(status)
