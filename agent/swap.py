"""The candidates of one update, from their start to the commit or the end: engines and pipelines beside those that serve.

Dull: does what a plan says, all of it or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping, Sequence

from agent.device import Device
from agent.engines import EngineUnit
from agent.errors import AgentError, UpdateRefused
from agent.pipelines import PipelineUnit
from agent.reconcile import PipelineSpec, Plan
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import SwapFigures

log = logging.getLogger(__name__)

DRAIN_S = 10.0
"""Old engines are ended after this long even if a pipeline has not said that it is done with them."""
FIGURES_S = 5.0
"""How long a pipeline that already works with the new binding may take to say what the switch cost."""


class Candidates:
    """`prepare`, then `abandon`; or `switch` and, where `current` could be written, `settle`, otherwise `go_back` and `abandon`."""

    def __init__(self, device: Device, plan: Plan, revision: int, *, beside: bool = True) -> None:
        """`beside`: the new engines run beside those they replace, at their expense."""
        self._beside = beside
        self._device = device
        self._plan = plan
        self._revision = revision
        self._ticket = f"r{revision}"
        self._engines: dict[str, EngineUnit] = {}
        self._starts: dict[str, PipelineUnit] = {}
        self._switches: dict[str, PipelineSpec] = {}
        self._former: dict[str, tuple[PipelineSpec, int]] = {}

    @property
    def engines(self) -> Mapping[str, EngineUnit]:
        """The engines that are not among those that serve, by key."""
        return self._engines

    @property
    def switches(self) -> Mapping[str, PipelineSpec]:
        """What the pipelines that keep their process are to become, by name."""
        return self._switches

    async def prepare(self, deadline_s: float) -> None:
        """Have everything new ready beside the old.

        :raises UpdateRefused: an engine or a pipeline cannot, with a problem for each; or the deadline is over
        """
        try:
            await asyncio.wait_for(self._prepare(), deadline_s)
        except asyncio.TimeoutError:
            raise self._too_late(deadline_s) from None

    async def _prepare(self) -> None:
        for spec in self._plan.engine_starts:
            unit = self._engines[spec.key] = self._device.start_engine(spec)
            # With nothing that serves there is nothing to spare.
            if self._device.pipelines and self._beside:
                unit.hold_back()
        await _all(
            [unit.until_up() for unit in self._engines.values()],
            [
                f"engines.{','.join(digest[7:19] for digest in unit.spec.digests)}"
                for unit in self._engines.values()
            ],
        )
        running = self._device.pipelines
        # A pipeline that does not run cannot prepare: it is replaced by a new process instead.
        self._switches = {spec.name: spec for spec in self._plan.switches if running[spec.name].up}
        fresh = [spec for spec in self._plan.switches if spec.name not in self._switches]
        for pipeline in (*self._plan.starts, *fresh):
            self._starts[pipeline.name] = self._device.start_pipeline(pipeline, self._revision, held=True)
        waits = [unit.until_up() for unit in self._starts.values()]
        waits += [
            running[name].prepare(spec, self._revision, self._ticket) for name, spec in self._switches.items()
        ]
        await _all(waits, [f"pipelines.{name}" for name in (*self._starts, *self._switches)])

    async def abandon(self) -> None:
        """End the candidates; what serves is not touched."""
        for name in self._switches:
            self._device.pipelines[name].abandon(self._ticket)
        await self._device.end(*self._starts.values(), *self._engines.values())
        for unit in self._engines.values():
            unit.socket.unlink(missing_ok=True)

    async def switch(self, deadline_s: float) -> tuple[SwapFigures, ...]:
        """Have every pipeline switch between two frames; what each says it cost.

        :raises UpdateRefused: not all could by the deadline; the old bindings are back
        """
        for engine in self._engines.values():
            engine.serve()
        units = {name: self._device.pipelines[name] for name in self._switches}
        for name, unit in units.items():
            self._former[name] = (unit.spec, unit.revision)
            unit.commit(self._switches[name], self._revision, self._ticket)
        figures_s = min(FIGURES_S, deadline_s / 2)
        try:
            await asyncio.wait_for(
                asyncio.gather(*(unit.until_switched(figures_s) for unit in units.values())), deadline_s
            )
        except asyncio.TimeoutError:
            self.go_back()
            raise UpdateRefused(
                Reason.SWITCH_FAILED,
                f"not every pipeline took over within {deadline_s:.0f} s: {sorted(units)}",
            ) from None
        return tuple(unit.swap for unit in units.values() if unit.swap is not None)

    def go_back(self) -> None:
        """Start the pipelines that switched anew, with what they had before."""
        for name, (spec, revision) in self._former.items():
            self._device.pipelines[name].restart_with(spec, revision, Reason.SWITCH_FAILED)

    async def settle(self) -> None:
        """The switch holds: candidates take their places. Engines that nothing uses any more stay until `Device.end_idle_engines`."""
        device = self._device
        device.engines |= self._engines
        gone: list[EngineUnit | PipelineUnit] = []
        for name, unit in self._starts.items():
            former = device.pipelines.get(name)
            if former is not None:
                gone.append(former)
            device.pipelines[name] = unit
            unit.promote(former)
        gone += [device.pipelines.pop(name) for name in self._plan.stops]
        device.keep_books_soon()
        await device.end(*gone)
        with contextlib.suppress(asyncio.TimeoutError):
            drains = [device.pipelines[name].until_drained(self._ticket) for name in self._switches]
            await asyncio.wait_for(asyncio.gather(*drains), DRAIN_S)

    def _too_late(self, deadline_s: float) -> UpdateRefused:
        problems = []
        for unit in self._engines.values():
            if unit.state != "ok":
                why = unit.why_not_up()
                problems.append(Problem(unit.name, why.reason, str(why)))
        for name, pipeline in self._starts.items():
            if not pipeline.up:
                problems.append(Problem(f"pipelines.{name}", Reason.STARTING, "has not come up"))
        text = "; ".join(map(str, problems)) or "the pipelines have not answered"
        return UpdateRefused(Reason.PREPARE_TIMEOUT, f"not ready within {deadline_s:.0f} s: {text}", problems)


async def _all(waits: Sequence[Awaitable[None]], paths: Sequence[str]) -> None:
    """Wait for all of them.

    :raises UpdateRefused: with the problems of every one that failed
    """
    results = await asyncio.gather(*waits, return_exceptions=True)
    problems: list[Problem] = []
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, AgentError):
            problems += result.problems or [Problem(path, result.reason, str(result))]
        elif isinstance(result, BaseException):
            raise result
    if problems:
        raise UpdateRefused(problems[0].reason, "; ".join(map(str, problems)), problems)
