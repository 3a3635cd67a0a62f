"""A pipeline process as the agent sees it: its binding, its camera, its books, its events, and the steps of a swap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.blindness import CameraLedger, LastHour
from agent.clock import Clock
from agent.config import Limits
from agent.engines import MAX_ENDS, reason_of
from agent.errors import Degraded, UpdateRefused
from agent.intake import Intake
from agent.picture import Picture
from agent.reconcile import PipelineSpec
from agent.stress import Relief
from agent.supervise import Keeper
from agent.vault import Vault
from wire import local
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import SwapFigures

log = logging.getLogger(__name__)
T = TypeVar("T")

Keep = Callable[["local.Event | local.Publication"], "asyncio.Future[bool]"]
Bind = Callable[[PipelineSpec, int], local.Binding]

SNAPSHOT_DEADLINE_S = 5.0
CLIP_DEADLINE_S = 30.0


class PipelineUnit:
    """A part for a keeper. `state` is starting, ok, degraded, failed or refused; `held` ones keep their events back."""

    module = "runtime.pipeline"
    keeper: Keeper

    def __init__(
        self,
        spec: PipelineSpec,
        revision: int,
        bind: Bind,
        keep: Keep,
        run_dir: Path,
        limits: Limits,
        clock: Clock,
        ledger: CameraLedger,
        *,
        held: bool,
        allow_code: bool = False,
        vault: Vault | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.spec = spec
        self.name = f"pipeline-{spec.name}"
        self.revision = revision
        self.ledger = ledger
        self.camera = local.CameraState("opening", Reason.STARTING.value)
        self.faults: list[local.PictureFault] = []
        self.relief = Relief()
        self.last_hour = LastHour()
        self.last_hour.begin(ledger, clock.mono())
        self.stats: local.PipelineStats | None = None
        self.up = False
        self.refused: UpdateRefused | None = None
        self.swap: SwapFigures | None = None
        self.compared: local.Compared | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.on_taken: Callable[[local.CameraSource, local.Taken], None] = lambda _camera, _taken: None
        self._bind = bind
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._limits = limits
        self._clock = clock
        self._allow_code = allow_code
        self._vault = vault
        self.ends_by_camera = 0
        """Ends of the process because a call to its camera did not come back: no fault of model or workflow."""
        self._ends = 0
        self._intake = Intake(keep, self._acknowledge, held=held)
        self._changed = asyncio.Event()
        self._prepared: dict[str, asyncio.Future[None]] = {}
        self._drained: dict[str, asyncio.Event] = {}
        self._snapshots: dict[str, asyncio.Future[local.SnapshotTaken]] = {}
        self._clips: dict[str, asyncio.Future[local.ClipTaken]] = {}
        self._switching = ""

    # --- a part for the keeper ----------------------------------------------------------------------------------------

    def greeting(self) -> local.Message:
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        binding = self._bind(self.spec, self.revision)
        files_dir = str(self._state_dir / "files" / self.spec.name) if self._state_dir else ""
        secrets_dir = str(self._state_dir / "secrets") if self._state_dir else ""
        return local.Start(
            self.spec.name,
            self._vault.fill(self.spec.camera) if self._vault else self.spec.camera,
            binding,
            str(self._run_dir),
            self._allow_code,
            files_dir,
            secrets_dir,
            str(self._vault.fleet_dir) if self._vault else "",
        )

    def received(self, message: local.Message) -> None:
        if isinstance(message, local.PipelineStats):
            self._told(message)
        elif isinstance(message, (local.Event, local.Publication)):
            self._intake.take(message)
        elif isinstance(message, local.CameraState):
            self._camera_is(message)
        elif isinstance(message, local.PictureState):
            self.faults = message.faults
            self._change()
        elif isinstance(message, local.PipelineUp):
            self.up, self.refused, self._ends = True, None, 0
            self._relieve()
            self._change()
        elif isinstance(message, (local.Prepared, local.NotPrepared)):
            self._answered(message)
        elif isinstance(message, local.Switched):
            self._switched(message)
        elif isinstance(message, local.Drained):
            self._drained.setdefault(message.ticket, asyncio.Event()).set()
        elif isinstance(message, local.Compared):
            self.compared = message
        elif isinstance(message, local.SnapshotTaken):
            _settle(self._snapshots.pop(message.rid, None), message)
        elif isinstance(message, (local.ClipTaken, local.SampleTaken)):
            asked = self._clips.pop(message.rid, None)
            if asked is not None and isinstance(message, local.ClipTaken):
                _settle(asked, message)
            else:
                self.on_taken(self.spec.camera, message)

    def ended(self, cause: Reason) -> None:
        if self.camera.reason == Reason.CAMERA_HUNG.value:
            # The process has said so itself before it ended.
            cause = Reason.CAMERA_HUNG
            self.ends_by_camera += 1
        self.ledger.process_ended(cause, self._clock.mono())
        self.up = False
        self.stats = None
        self.faults = []
        self._ends += 1
        self.camera = local.CameraState("lost", cause.value, cause.text)
        self._intake.forget()
        self._switching = ""
        gone = UpdateRefused(Reason.PIPELINE_DOWN, f"pipeline {self.spec.name!r} ended meanwhile")
        for future in self._prepared.values():
            if not future.done():
                future.set_exception(gone)
        for event in self._drained.values():
            event.set()
        self._change()

    def silence_s(self) -> float:
        return self._limits.silent_s if self.up else self._limits.start_silent_s

    def retry_s(self) -> float | None:
        return self._limits.refused_retry_s if self.refused else None

    def proven(self) -> bool:
        return self.stats is not None and self.stats.results > 0

    def ease(self, relief: Relief) -> None:
        """The share of frames the device can bear; cameras that may not be relieved work on all."""
        if self.spec.camera.care.shed and relief != self.relief:
            self.relief = relief
            self._relieve()

    def _relieve(self) -> None:
        if self.up and (self.relief.reason is not None or self.stats is not None):
            reason = self.relief.reason.value if self.relief.reason else ""
            self.keeper.send(local.Relieve(self.relief.share, reason))

    def clear(self) -> None:
        """After its end for good: its directory goes."""
        shutil.rmtree(self._run_dir, ignore_errors=True)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        if self.refused:
            return "refused"
        if not self.up:
            return "failed" if self._ends else "starting"
        if self.camera.state == "opening":
            return "starting"
        blind = self.stats is not None and bool(self.stats.blind_cause)
        if self.camera.state == "lost" or self.faults or blind or (self.stats and self.stats.step_errors):
            return "degraded"
        return "ok"

    def tick(self) -> None:
        """Once in a while: events whose commit failed are tried again."""
        self._intake.retry()

    # --- the steps of a swap ------------------------------------------------------------------------------------------

    async def until_up(self) -> None:
        """Wait until the process runs and has compiled its workflow; the caller sets the deadline.

        :raises UpdateRefused: it refuses, or ends again and again
        """
        while not self.up:
            if self.refused is not None:
                raise self.refused
            if self._ends >= MAX_ENDS:
                raise UpdateRefused(
                    Reason.PIPELINE_DOWN, f"pipeline {self.spec.name!r} ended {self._ends} times at its start"
                )
            await self._wait_change()

    async def prepare(self, spec: PipelineSpec, revision: int, ticket: str) -> None:
        """Have the new binding made ready beside the old; the caller sets the deadline.

        :raises UpdateRefused: the pipeline cannot
        """
        while not self.up:
            await self._wait_change()
        self._drained[ticket] = asyncio.Event()
        future = self._prepared[ticket] = asyncio.get_running_loop().create_future()
        try:
            self.keeper.send(local.Prepare(ticket, self._bind(spec, revision)))
            await future
        finally:
            self._prepared.pop(ticket, None)

    def abandon(self, ticket: str) -> None:
        """Have the prepared binding forgotten."""
        self._drained.pop(ticket, None)
        self.keeper.send(local.Abandon(ticket))

    def commit(self, spec: PipelineSpec, revision: int, ticket: str) -> None:
        """Switch between two frames; a process that starts from now on starts with the new binding."""
        self.spec, self.revision = spec, revision
        self._switching = ticket
        self.swap = None
        self.keeper.send(local.Commit(ticket))

    def restart_with(self, spec: PipelineSpec, revision: int, cause: Reason) -> None:
        """Have the process begin anew with this binding."""
        self.spec, self.revision = spec, revision
        self.refused = None
        self.keeper.end(cause, "another binding")

    async def until_switched(self, figures_s: float) -> None:
        """Wait until the new binding works, and for its figures at most `figures_s` more; the caller sets the deadline."""
        while not (self.swap is not None or self._works_with_newest()):
            await self._wait_change()
        if self.swap is None and self._switching:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._figures(), figures_s)

    async def until_drained(self, ticket: str) -> None:
        """Wait until nothing of the former binding is under way; the caller sets the deadline."""
        if (event := self._drained.get(ticket)) is not None and self.keeper.pid is not None:
            await event.wait()
        self._drained.pop(ticket, None)

    def compare(self, order: local.Compare) -> bool:
        """Have a second engine look at some of the pictures; what comes of it is in `compared`, from nothing on."""
        self.compared = None
        return self.keeper.send(order)

    def end_comparison(self, ticket: str) -> None:
        """Have it look no more."""
        self.keeper.send(local.EndCompare(ticket))

    def promote(self, former: PipelineUnit | None) -> None:
        """The candidate is committed: its events count, and it goes on with the books of the one it replaces."""
        if former is not None:
            self.ledger.succeed(former.ledger)
            self.last_hour = former.last_hour
        self._intake.release()

    async def snapshot(self, *, annotated: bool, max_width_px: int, purpose: str = "device") -> Picture:
        """The newest frame as JPEG, for this device's own use or the `fleet`'s.

        :raises Degraded: there is none, or the process does not answer
        """
        rid = uuid.uuid4().hex
        future = self._snapshots[rid] = asyncio.get_running_loop().create_future()
        try:
            if not self.up or not self.keeper.send(local.TakeSnapshot(rid, annotated, max_width_px, purpose)):
                raise Degraded(
                    Reason.PIPELINE_DOWN, f"the pipeline of camera {self.spec.camera.name!r} does not run"
                )
            taken = await asyncio.wait_for(future, SNAPSHOT_DEADLINE_S)
            if not taken.path:
                raise Degraded(reason_of(taken.reason or Reason.CAMERA_UNREACHABLE.value), taken.message)
            jpeg = await asyncio.to_thread(Path(taken.path).read_bytes)
            return Picture(jpeg, (taken.frame_width, taken.frame_height))
        except asyncio.TimeoutError:
            raise Degraded(Reason.PIPELINE_HUNG, f"no picture within {SNAPSHOT_DEADLINE_S:.0f} s") from None
        except OSError as e:
            raise Degraded(Reason.INTERNAL, f"the picture cannot be read: {e}") from e
        finally:
            self._snapshots.pop(rid, None)

    async def clip(self, seconds: float, *, purpose: str = "device") -> local.ClipTaken:
        """A clip of the last seconds, in a file that is the caller's from now on.

        :raises Degraded: the process does not answer
        """
        rid = uuid.uuid4().hex
        future = self._clips[rid] = asyncio.get_running_loop().create_future()
        try:
            if not self.up or not self.keeper.send(local.TakeClip(rid, seconds, purpose)):
                raise Degraded(
                    Reason.PIPELINE_DOWN, f"the pipeline of camera {self.spec.camera.name!r} does not run"
                )
            return await asyncio.wait_for(future, CLIP_DEADLINE_S)
        except asyncio.TimeoutError:
            raise Degraded(Reason.PIPELINE_HUNG, f"no clip within {CLIP_DEADLINE_S:.0f} s") from None
        finally:
            self._clips.pop(rid, None)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _told(self, stats: local.PipelineStats) -> None:
        before = self.state
        self.stats = stats
        self.ledger.told(stats)
        if self._switching or self.state != before:
            self._change()

    def _camera_is(self, state: local.CameraState) -> None:
        self.camera = state
        if state.state == "ended":
            self.ledger.camera_ended()
        self._change()

    def _answered(self, message: local.Prepared | local.NotPrepared) -> None:
        future = self._prepared.get(message.ticket)
        if isinstance(message, local.Prepared):
            _settle(future, None)
            return
        problems = [_problem(problem) for problem in message.problems]
        refused = UpdateRefused(reason_of(message.reason), message.message, problems)
        if not message.ticket:
            self.refused = refused
            self._change()
        elif future is not None and not future.done():
            future.set_exception(refused)
        elif message.ticket == self._switching:
            # The process was started anew since it prepared: it takes the new binding by another start.
            self.keeper.end(Reason.SWITCH_FAILED, message.message)

    def _switched(self, message: local.Switched) -> None:
        self._switching = ""
        self.swap = SwapFigures(
            pipeline=self.spec.name,
            last_frame_old=message.last_frame_old,
            first_frame_new=message.first_frame_new,
            frames_lost=message.frames_lost,
            gap_ms=message.gap_ms,
            longest_gap_ms=message.longest_gap_ms,
            frame_period_ms=message.frame_period_ms,
        )
        self._change()

    def _works_with_newest(self) -> bool:
        return self.up and self.stats is not None and self.stats.revision == self.revision

    async def _figures(self) -> None:
        while self.swap is None:
            await self._wait_change()

    def _acknowledge(self, number: int) -> None:
        self.keeper.send(local.EventsKept(number))

    def _change(self) -> None:
        self._changed.set()
        self.on_change()

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _settle(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _problem(value: dict[str, object]) -> Problem:
    try:
        return Problem.from_json(value)
    except (ValueError, KeyError):
        return Problem(str(value.get("path", "")), Reason.INTERNAL, str(value.get("message", value)))
