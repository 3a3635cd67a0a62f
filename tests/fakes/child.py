"""A child process that speaks `wire.local` and does nothing else: `python child.py -m MODULE --link-fd N`.

What it does wrong is written in what it is given: a model's `fake.json`, a workflow's `fake` member, a camera's `options`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wire import local

STATS_S = 0.1
REAL = "OUTRIDER_TEST_REAL_CHILDREN"
"""Names the modules, separated by commas, in whose place nothing is faked."""


class Line:
    """The child's end of the link, blocking."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lines = local.Lines()

    def send(self, message: local.Message) -> None:
        self._socket.sendall(local.encode(message))

    def receive(self, timeout_s: float) -> list[local.Message]:
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return []
        data = self._socket.recv(65536)
        if not data:
            os._exit(0)
        return [local.decode(line) for line in self._lines.feed(data)]


def engine(line: Line) -> None:
    load = first(line, local.Load)
    for model in load.models:
        faults = read_json(Path(model.package) / "fake.json")
        line.send(local.EnginePhase(model.digest, "loading"))
        if reason := faults.get("refuse"):
            line.send(local.EngineRefused(model.digest, reason, f"the fake refuses {model.name}"))
            return
        if faults.get("hang"):
            time.sleep(3600)
        time.sleep(faults.get("load_s", 0.0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(load.socket)
    listener.listen()
    line.send(local.EngineUp(os.getpid(), 0.01, 0.01, 0.01, {"engine": "fake"}))
    while True:
        for message in line.receive(STATS_S):
            if isinstance(message, local.Stop):
                return
        line.send(local.EngineStats(1, 1, 0, 1.0, 1.0, 1, 0.0, 1000))


class Pipeline:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.start = first(line, local.Start)
        self.binding = self.start.binding
        self.prepared: dict[str, local.Binding] = {}
        self.options = self.start.camera.options
        self.frames = 0
        self.blind = 0
        self.events = 0
        self.first_mono = self.last_mono = 0.0
        self.prefix = uuid.uuid4().hex[:12]

    def run(self) -> None:
        if (refusal := self.refusal(self.binding, "")) is not None:
            self.line.send(refusal)
            os._exit(3)
        if self.options.get("crash_at_start"):
            os._exit(9)
        self.line.send(local.PipelineUp(os.getpid()))
        self.line.send(local.CameraState("streaming", "", "", 64, 48, 10.0))
        next_mono = time.monotonic()
        while True:
            for message in self.line.receive(max(0.0, next_mono - time.monotonic())):
                if not self.obey(message):
                    return
            if time.monotonic() >= next_mono:
                next_mono = time.monotonic() + STATS_S
                self.frame()

    def refusal(self, binding: local.Binding, ticket: str) -> local.NotPrepared | None:
        faults = read_json(Path(binding.workflow_path)).get("fake", {})
        if reason := faults.get("refuse"):
            problem = {"path": "steps.x", "reason": reason, "message": "the fake refuses"}
            return local.NotPrepared(ticket, reason, "the fake refuses", [problem])
        if faults.get("hang"):
            time.sleep(3600)
        return None

    def frame(self) -> None:
        if os.path.exists(os.path.join(self.start.run_dir, "hang")):
            time.sleep(3600)
        self.frames += 1
        if read_json(Path(self.binding.workflow_path)).get("fake", {}).get("blind"):
            self.blind += 1
        self.last_mono = time.monotonic()
        self.first_mono = self.first_mono or self.last_mono
        for _ in range(self.options.get("events_a_tick", 0)):
            self.events += 1
            body = {"camera": self.start.camera.name, "n": self.events, "revision": self.binding.revision}
            self.line.send(
                local.Event(self.events, f"{self.prefix}-{self.events}", self.start.camera.name, body)
            )
        self.line.send(self.stats())

    def stats(self) -> local.PipelineStats:
        models = {model_id: model.digest for model_id, model in self.binding.models.items()}
        blind = {"engine-error": self.blind} if self.blind else {}
        return local.PipelineStats(
            self.frames, self.frames - self.blind, blind, {}, 10.0, 1.0, 2.0, {}, "", 0.0, self.first_mono, self.last_mono,
            self.events, 0, {}, {}, {"count": 1}, models, self.binding.workflow_digest, self.binding.revision,
        )  # fmt: skip

    def obey(self, message: local.Message) -> bool:
        if isinstance(message, local.Stop):
            return False
        if isinstance(message, local.Prepare):
            refusal = self.refusal(message.binding, message.ticket)
            self.prepared[message.ticket] = message.binding
            self.line.send(refusal or local.Prepared(message.ticket))
        elif isinstance(message, local.Commit):
            self.commit(message.ticket)
        elif isinstance(message, local.Abandon):
            self.prepared.pop(message.ticket, None)
        elif isinstance(message, local.Compare):
            self.line.send(local.Compared(message.ticket, True, 0, {}, "a fake compares nothing"))
        elif isinstance(message, local.TakeSnapshot):
            path = Path(self.start.run_dir) / "snapshot.jpg"
            path.write_bytes(b"\xff\xd8fake\xff\xd9")
            self.line.send(local.SnapshotTaken(message.rid, str(path), "", self.frames, "", 1920, 1080))
        return True

    def commit(self, ticket: str) -> None:
        if ticket not in self.prepared:
            self.line.send(local.NotPrepared(ticket, "switch-failed", "not prepared"))
            return
        if read_json(Path(self.prepared[ticket].workflow_path)).get("fake", {}).get("never_switch"):
            return
        self.binding = self.prepared.pop(ticket)
        self.line.send(local.Switched(ticket, self.frames, self.frames + 1, 0, 1.0, 1.0, 100.0))
        self.line.send(local.Drained(ticket))


def first(line: Line, kind: type[Any]) -> Any:
    while True:
        for message in line.receive(30.0):
            assert isinstance(message, kind), message
            return message


def read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    module = sys.argv[sys.argv.index("-m") + 1]
    if module in os.environ.get(REAL, "").split(","):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    line = Line(int(sys.argv[sys.argv.index("--link-fd") + 1]))
    if module == "runtime.pipeline":
        Pipeline(line).run()
    else:
        engine(line)


if __name__ == "__main__":
    main()
