"""Work that must not hold up frames: preparing a binding, drawing a snapshot. One thread, a bounded queue."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from runtime.errors import RuntimeFault
from runtime.pipeline.active import Active
from runtime.pipeline.faces import Finder
from runtime.pipeline.privacy import check
from runtime.pipeline.recorder import Recorder
from runtime.pipeline.sampler import Sampler
from runtime.pipeline.snapshot import Seen, write
from wire import local
from wire.camera import Clips, Privacy
from wire.reasons import Reason

MAX_WAITING = 8
MAX_PROBLEMS = 100
MAX_MESSAGE_CHARS = 4000
"""Of a refusal. A person reads the first few; a line of the link holds 1 MiB."""
Done = tuple[local.Message, "Active | None"]


def refusal(ticket: str, fault: RuntimeFault) -> local.NotPrepared:
    """Why a binding cannot be prepared, short enough for the link and for reported state."""
    problems = [problem.to_json() for problem in fault.problems[:MAX_PROBLEMS]]
    return local.NotPrepared(ticket, fault.reason.value, str(fault)[:MAX_MESSAGE_CHARS], problems)


class Chores:
    """Runs chores one after the other; `fileno` is readable when one is done."""

    def __init__(
        self,
        activate: Callable[[local.Binding], Active],
        run_dir: str,
        privacy: Privacy | None = None,
        recorder: Recorder | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        self._activate = activate
        self._run_dir = run_dir
        self._privacy = privacy or Privacy()
        self._waiting: queue.Queue[Callable[[], Done]] = queue.Queue(MAX_WAITING)
        self._done: queue.Queue[Done] = queue.Queue()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._seen: Seen | None = None
        self._finder = Finder()
        self._recorder = recorder or Recorder(Clips(), self._privacy, run_dir)
        self._recorder.tell = lambda message: self._finish((message, None))
        self._sampler = sampler
        if sampler is not None:
            sampler.tell = self._recorder.tell
        threading.Thread(target=self._work, name="chores", daemon=True).start()

    def fileno(self) -> int:
        return self._wake_fd

    def done(self) -> list[Done]:
        """The answers that are ready: a message for the agent, and with `Prepared` the binding brought to life."""
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return []
        answers = []
        while not self._done.empty():
            answers.append(self._done.get_nowait())
        return answers

    def prepare(self, message: local.Prepare) -> None:
        busy = local.NotPrepared(
            message.ticket, Reason.PREPARE_TIMEOUT.value, "the pipeline is busy with other chores"
        )
        self._add(lambda: self._prepare(message), (busy, None))

    def see(self, seen: Seen) -> None:
        """The newest frame with a result."""
        self._seen = seen
        self._recorder.see(seen)
        if self._sampler is not None:
            self._sampler.see(seen)

    def clip(self, message: local.TakeClip) -> None:
        self._recorder.take(message)

    def snapshot(self, message: local.TakeSnapshot) -> None:
        seen = self._seen
        if seen is None:
            self._finish((local.SnapshotTaken(message.rid, "", "there is no frame with a result yet"), None))
            return
        busy = local.SnapshotTaken(message.rid, "", "too many snapshots are waiting")
        self._add(lambda: self._snapshot(message, seen), (busy, None))

    def _add(self, chore: Callable[[], Done], otherwise: Done) -> None:
        try:
            self._waiting.put_nowait(chore)
        except queue.Full:
            self._finish(otherwise)

    def _prepare(self, message: local.Prepare) -> Done:
        try:
            return local.Prepared(message.ticket), self._activate(message.binding)
        except RuntimeFault as e:
            return refusal(message.ticket, e), None
        except (
            Exception
        ) as e:  # the boundary: a plug-in block may raise anything, and the old binding must go on
            return local.NotPrepared(message.ticket, Reason.INTERNAL.value, f"{type(e).__name__}: {e}"), None

    def _snapshot(self, message: local.TakeSnapshot, seen: Seen) -> Done:
        try:
            check(self._privacy, message.purpose)
            path = write(
                seen,
                self._run_dir,
                self._privacy,
                self._finder,
                annotated=message.annotated,
                max_width_px=message.max_width_px,
            )
        except RuntimeFault as e:
            return local.SnapshotTaken(message.rid, "", str(e), reason=e.reason.value), None
        height, width = seen.frame.image.shape[:2]
        return local.SnapshotTaken(
            message.rid, str(path), "", seen.frame.seq, frame_width=width, frame_height=height
        ), None

    def _work(self) -> None:
        while True:
            self._finish(self._waiting.get()())

    def _finish(self, done: Done) -> None:
        self._done.put(done)
        os.eventfd_write(self._wake_fd, 1)
