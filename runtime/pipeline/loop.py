"""The pipeline's main loop: one thread that takes frames, keeps engines busy, gives results, obeys the agent.

A few frames are under way at once, so that the next one is letterboxed while the engine works; answers are taken in order.
"""

from __future__ import annotations

import json
import select
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from runtime.camera.reader import LATEST_WINS, CameraReader, Frame
from runtime.camera.source import Pace, pace_of
from runtime.lifeline import Termination
from runtime.link import Link
from runtime.pipeline.active import Active, Candidate
from runtime.pipeline.chores import Chores
from runtime.pipeline.compare import Aside
from runtime.pipeline.events import MAX_EVENT_BYTES, Held
from runtime.pipeline.ledger import Ledger
from runtime.pipeline.sight import SightBook, found
from runtime.pipeline.snapshot import Seen
from runtime.pipeline.steps import StepBook
from runtime.pipeline.swap import SwapRecord
from runtime.pipeline.uplink import Provenance
from runtime.pipeline.watch import CameraWatch
from runtime.results import NoAnswer
from runtime.sinks.desk import Desk
from runtime.workflow.executor import Outcome, Run
from runtime.workflow.serialise import to_json
from wire import local
from wire.reasons import Reason

LIVE_DEPTH = 2
"""Frames of a live camera under way at once: one more would only be older when its answer comes."""
FILE_DEPTH = 3
"""Frames of a file: two for an engine that runs two side by side, and one that is ready when the first of them is done."""
ANSWER_DEADLINE_S = 5.0
"""A frame without an answer after this long has none."""
STATS_S = 1.0
CAMERA_HUNG_STATUS = 75
"""Exit status of a process whose camera hangs in a native call."""
STOP_FLUSH_S = 2.0
MAX_LINK_BACKLOG_BYTES = 256 * 1024
"""Events wait here, where the oldest give way, and not in the link while the agent does not read."""


@dataclass
class UnderWay:
    """A frame that was begun."""

    frame: Frame
    active: Active
    run: Run
    deadline_mono: float


class PipelineLoop:
    """Owns everything of one camera's process. `run` returns the exit status."""

    def __init__(
        self,
        start: local.Start,
        link: Link,
        reader: CameraReader,
        active: Active,
        chores: Chores,
        held: Held,
        termination: Termination,
        provenance: Provenance,
        desk: Desk,
        aside: Aside,
    ) -> None:
        self._start = start
        self._aside = aside
        self._termination = termination
        self._link = link
        self._reader = reader
        self._active = active
        self._chores = chores
        self._held = held
        self._provenance = provenance
        self._desk = desk
        self._every_frame = pace_of(start.camera) is Pace.FILE
        self._depth = FILE_DEPTH if self._every_frame else LIVE_DEPTH
        self._ledger = Ledger(time.monotonic())
        self._under_way: deque[UnderWay] = deque()
        self._retiring: list[tuple[str, Active]] = []
        self._candidate = Candidate()
        self._record: SwapRecord | None = None
        self._announce: str = ""
        self._watch = CameraWatch(start.camera, reader, self._ledger, link)
        self._hung = False
        self._last_result_frame = -1
        self._without_then = 0
        self._steps = StepBook(time.monotonic())
        self._sight = SightBook()
        self._step_errors: dict[str, int] = {}
        self._step_messages: dict[str, str] = {}
        self._summary: dict[str, Any] = {}
        self._next_stats_mono = 0.0
        self._stopping_mono = 0.0
        self._poll = select.poll()
        self._polled: set[int] = set()

    def run(self) -> int:
        """Work until told to stop, or until the agent is gone."""
        self._reader.start()
        while True:
            self._wait()
            if not self._obey():
                return 0
            self._pump()
            self._finish_ready()
            self._begin_waiting()
            self._retire()
            self._compare()
            self._send()
            if self._hung:
                return CAMERA_HUNG_STATUS
            if self._stopping_mono and self._may_end():
                return 0

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        wanted = {self._chores.fileno(), self._termination.fileno()}
        if self._may_begin():
            wanted.add(self._reader.fileno())
        for active in self._living():
            wanted |= {fd for engine in active.engines.values() if (fd := engine.fileno()) >= 0}
        wanted |= {fd for engine in self._aside.engines if (fd := engine.fileno()) >= 0}
        for fd in self._polled - wanted:
            self._poll.unregister(fd)
        for fd in wanted - self._polled:
            self._poll.register(fd, select.POLLIN)
        self._polled = wanted
        self._poll.register(self._link, select.POLLIN | (select.POLLOUT if self._link.pending_bytes else 0))
        self._poll.poll(max(0.0, self._due_mono() - time.monotonic()) * 1000)

    def _due_mono(self) -> float:
        """When the loop has to turn though nothing came."""
        due_mono = [engine.due_mono for active in self._living() for engine in active.engines.values()]
        due_mono += [engine.due_mono for engine in self._aside.engines]
        if self._under_way:
            due_mono.append(self._under_way[0].deadline_mono)
        return min([self._next_stats_mono, *due_mono])

    def _living(self) -> list[Active]:
        return [self._active, *self._candidate.living, *(active for _, active in self._retiring)]

    def _may_begin(self) -> bool:
        if len(self._under_way) >= self._depth or self._stopping_mono:
            return False
        return self._active.attached or not self._every_frame

    def _pump(self) -> None:
        for active in self._living():
            for engine in active.engines.values():
                engine.pump()
        for engine in self._aside.engines:
            engine.pump()

    # --- frames -------------------------------------------------------------------------------------------------------

    def _begin_waiting(self) -> None:
        self._reader.clear()
        while self._may_begin() and (frame := self._reader.take()) is not None:
            run = self._active.begin(frame, self._watch.state.fps)
            self._active.in_flight += 1
            self._under_way.append(UnderWay(frame, self._active, run, time.monotonic() + ANSWER_DEADLINE_S))
            self._finish_ready()
        self._watch.take_news()

    def _finish_ready(self) -> None:
        while self._under_way:
            oldest = self._under_way[0]
            left_s = oldest.deadline_mono - time.monotonic()
            if not oldest.run.ready() and left_s > 0:
                return
            self._under_way.popleft()
            self._provenance.serving(oldest.active, oldest.frame)
            self._book(oldest, oldest.run.finish(max(0.0, left_s)))
            oldest.active.in_flight -= 1

    def _book(self, done: UnderWay, outcome: Outcome) -> None:
        done_mono = time.monotonic()
        self._steps.add(outcome.step_times_us, outcome.errors, done_mono)
        for step, message in outcome.errors.items():
            self._step_errors[step] = self._step_errors.get(step, 0) + 1
            self._step_messages[step] = message[:500]
        if outcome.no_answer is not None:
            self._unanswered(done, outcome.no_answer, done_mono)
            return
        self._ledger.result(done.frame.captured_mono, done_mono)
        if done.active is self._active:
            self._look(done, outcome, done_mono)
        self._note_swap(done, done_mono)
        self._last_result_frame, self._without_then = done.frame.seq, self._without_result()
        raw = outcome.outputs[0] if outcome.outputs else {}
        active = done.active
        self._chores.see(Seen(done.frame, raw, outcome.predictions, active.faces, active.origin))
        outputs = to_json(raw)
        self._summary = _short(outputs)
        if done.active.policy.wants(outputs, done_mono):
            self._make_event(outputs, outcome.errors)

    def _look(self, done: UnderWay, outcome: Outcome, done_mono: float) -> None:
        """Count what was found, and have a second engine look too where that is ordered."""
        captured_mono = done.frame.captured_mono
        alone = not self._aside.shared_machine(captured_mono)
        self._sight.result(
            found(outcome.answers, outcome.predictions), done_mono - captured_mono if alone else None
        )
        if self._aside.engines:
            self._aside.offer(done.frame.image, outcome.whole, done_mono, idle=not self._under_way)

    def _compare(self) -> None:
        for message in self._aside.turn(time.monotonic()):
            self._link.send(message)

    def _unanswered(self, done: UnderWay, answer: NoAnswer, at_mono: float) -> None:
        self._ledger.unanswered(answer.reason, at_mono)
        if done.active is self._active:
            self._sight.unanswered(answer.reason.value)
        if answer.message:
            self._step_messages["model"] = answer.message[:500]

    def _make_event(self, outputs: dict[str, Any], errors: dict[str, str]) -> None:
        body = self._provenance.body(*self._desk.pictures.let_through(outputs, errors))
        size_bytes = len(json.dumps(body))
        if not self._held.add(body, size_bytes):
            text = (
                f"an event of {size_bytes} bytes was dropped; at most {MAX_EVENT_BYTES} travel: put out less"
            )
            self._step_messages["event"] = text

    def _note_swap(self, done: UnderWay, done_mono: float) -> None:
        if self._record is None:
            return
        if self._announce and done.active is self._active:
            without = self._without_result()
            period_s = 1.0 / (self._start.camera.fps or self._watch.state.fps or 25.0)
            self._link.send(self._record.first_of_new(done.frame.seq, done_mono, without, period_s))
            self._record, self._announce = None, ""
        else:
            self._record.result(done.frame.seq, done_mono)

    def _without_result(self) -> int:
        """Frames so far that something took too long for; what a rule leaves out on purpose is no loss."""
        return self._ledger.skipped.get(LATEST_WINS, 0) + sum(self._ledger.no_answer.values())

    # --- the agent ----------------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        for message in self._link.receive():
            if isinstance(message, local.EventsKept):
                self._held.kept(message.number)
            elif isinstance(message, local.Prepare):
                self._candidate.expect(message.ticket)
                self._record = self._new_record(message.ticket)
                self._chores.prepare(message)
            elif isinstance(message, local.Commit):
                self._commit(message.ticket)
            elif isinstance(message, local.Abandon):
                self._candidate.expect("")
                self._record = None
            elif isinstance(message, local.TakeSnapshot):
                self._chores.snapshot(message)
            elif isinstance(message, local.TakeClip):
                self._chores.clip(message)
            elif isinstance(message, local.Relieve):
                self._watch.relieve(message)
            elif isinstance(message, local.Compare):
                self._aside.order(message, time.monotonic())
            elif isinstance(message, local.EndCompare):
                self._aside.end(time.monotonic(), message.ticket)
            elif isinstance(message, local.Stop):
                self._stopping_mono = time.monotonic()
        if self._termination.requested and not self._stopping_mono:
            self._stopping_mono = time.monotonic()
        for reply, active in self._chores.done():
            if active is not None and isinstance(reply, local.Prepared):
                self._candidate.arrived(reply.ticket, active)
            self._link.send(reply)
        return not self._link.closed

    def _new_record(self, ticket: str) -> SwapRecord:
        """Frames count from the last result on: what was ended to make room for the new binding is part of the swap's gap."""
        return SwapRecord(ticket, self._last_result_frame, self._ledger.last_result_mono, self._without_then)

    def _commit(self, ticket: str) -> None:
        active = self._candidate.take(ticket)
        if active is None:
            message = f"ticket {ticket!r} is not prepared"
            self._link.send(local.NotPrepared(ticket, Reason.SWITCH_FAILED.value, message))
            return
        active.executor.adopt(self._active.executor)
        self._retiring.append((ticket, self._active))
        self._active = active
        self._steps.keep(active.executor.graph.step_names)
        self._sight = SightBook()
        self._aside.end(time.monotonic())
        self._announce = ticket
        self._record = self._record or self._new_record(ticket)

    def _retire(self) -> None:
        for entry in [entry for entry in self._retiring if entry[1].in_flight == 0]:
            ticket, active = entry
            self._retiring.remove(entry)
            for engine in active.engines.values():
                if (fd := engine.fileno()) in self._polled:
                    self._poll.unregister(fd)
                    self._polled.discard(fd)
            active.close()
            self._link.send(local.Drained(ticket))

    # --- telling ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        for event in self._held.due(MAX_LINK_BACKLOG_BYTES - self._link.pending_bytes):
            self._link.send(event)
        at_mono = time.monotonic()
        if at_mono >= self._next_stats_mono:
            self._next_stats_mono = at_mono + STATS_S
            self._hung = self._watch.check(at_mono, idle=not self._under_way and self._may_begin())
            self._link.send(self._stats(at_mono))
        self._link.flush()

    def _stats(self, at_mono: float) -> local.PipelineStats:
        ledger, rates, loss = self._ledger, self._ledger.rates(at_mono), self._reader.loss
        return local.PipelineStats(
            ledger.frames,
            ledger.results,
            ledger.no_answer,
            ledger.skipped,
            rates.fps,
            rates.latency_p50_ms,
            rates.latency_p95_ms,
            ledger.blind_s,
            ledger.blind_cause,
            ledger.blind_since_mono,
            ledger.first_result_mono,
            ledger.last_result_mono,
            self._held.total,
            self._held.dropped,
            self._step_errors,
            self._step_messages,
            self._summary,
            self._active.digests,
            self._active.binding.workflow_digest,
            self._active.binding.revision,
            self._steps.stats(),
            {step.step: step.instead for step in self._active.executor.graph.passed_over[:32]},
            ledger.off_since_mono,
            self._reader.drift.ms,
            {name: local.SinkStats(**vars(figures)) for name, figures in self._desk.figures().items()},
            self._sight.told(),
            loss.packets if loss else None,
            loss.share if loss else None,
            self._reader.brightness,
        )

    # --- the end ------------------------------------------------------------------------------------------------------

    def _may_end(self) -> bool:
        waited_s = time.monotonic() - self._stopping_mono
        if (self._under_way or len(self._held)) and waited_s < STOP_FLUSH_S:
            self._next_stats_mono = min(self._next_stats_mono, time.monotonic() + 0.05)
            return False
        self._link.send(self._stats(time.monotonic()))
        self._link.flush()
        self._reader.stop()
        for active in self._living():
            active.close()
        return True


def _short(outputs: dict[str, Any]) -> dict[str, Any]:
    """What a person wants to see of the outputs each second: plain values, and counts in place of lists; no pictures."""
    short: dict[str, Any] = {}
    for name, value in list(outputs.items())[:16]:
        if isinstance(value, dict) and value.get("type") == "image":
            continue
        if isinstance(value, dict) and isinstance(value.get("predictions"), list):
            short[name] = len(value["predictions"])
        elif isinstance(value, dict) and all(isinstance(item, (int, float, str)) for item in value.values()):
            short[name] = dict(list(value.items())[:8])
        elif isinstance(value, str):
            short[name] = value[:80]
        elif value is None or isinstance(value, (bool, int, float)):
            short[name] = value
        elif isinstance(value, list):
            short[name] = len(value)
    return short
