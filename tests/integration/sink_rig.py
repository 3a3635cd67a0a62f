"""A workflow of one sink step, run on one frame, and the servers it sends to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from runtime.sinks.desk import Desk
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.values import ImageValue

PICTURE = ImageValue(np.full((48, 64, 3), (40, 120, 200), np.uint8))

_opened: list[Desk] = []


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Close the desks of a test."""
    yield
    while _opened:
        _opened.pop().close(0.5)


def executor(
    step: dict[str, Any], desk: Desk | None = None, inputs: tuple[str, ...] = ("value",)
) -> Executor:
    """A workflow with the picture, these parameters, and the step, which is called `sink`."""
    parameters = [{"type": "WorkflowParameter", "name": name} for name in inputs]
    definition = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}, *parameters],
        "steps": [{"name": "sink", **step}],
        "outputs": [{"type": "JsonField", "name": "sink", "selector": "$steps.sink.*"}],
    }
    desk = desk or Desk()
    _opened.append(desk)
    around = Surroundings(time.time, time.monotonic, desk=desk)
    return Executor(compile_definition(definition), {}, around)


def run(step: dict[str, Any], desk: Desk | None = None, **values: Any) -> dict[str, Any]:
    """The outputs of the step, run once."""
    return outputs(executor(step, desk, tuple(values) or ("value",)).run({"image": PICTURE, **values}))


def outputs(outcome: Outcome) -> dict[str, Any]:
    assert not outcome.errors, outcome.errors
    found: dict[str, Any] = outcome.outputs[0]["sink"]
    return found


def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    deadline_mono = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline_mono, "it did not come about"
        time.sleep(0.01)


class Requests(ThreadingHTTPServer):
    """A real HTTP server: keeps what it was sent, answers with the next of `answers`, at last with the last one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = [(200, b"{}")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Requests
    protocol_version = "HTTP/1.1"

    def _take(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append((self.command, self.path, dict(self.headers), content))
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _take  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def requests() -> Iterator[Requests]:
    server = Requests()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
