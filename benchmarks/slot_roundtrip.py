"""What the way to an engine process and back costs: `python -m benchmarks.slot_roundtrip --json`.

A no-op model behind the real server in a process of its own, a 416 by 416 image that needs no resizing, one request at a time. Its
`round_trip_us` holds the copy into the slot, both messages, both wake-ups and the decoded answer; `in_process_us` is the same
copy and answer without a process between. `bare_socket_us` is what two Python processes of this machine need to exchange the same
packets with nothing done: mostly the kernel's wake-ups. `one_core_us` is the round trip with both on one core: the CPU it costs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.lifeline import tie_to_parent
from runtime.model.attachment import AttachedEngine
from runtime.model.geometry import Geometry
from runtime.model.preprocess import preprocessor
from runtime.model.serving import Server
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Result

DIGEST = "sha256:" + "0" * 64
SIDE_PX = 416
DETECTIONS = 5
REQUEST_BYTES, ANSWER_BYTES = 40, 256
"""Of one tensor, and of an answer with five boxes."""
ATTACH_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0


class NoOpModel:
    """Answers five boxes at once, whatever it is asked."""

    runs_at_once = 1

    def __init__(self) -> None:
        model_input = InputSpec("images", SIDE_PX, SIDE_PX, colour="BGR")
        self.spec = ModelSpec("no-op", Task.DETECTION, "none", model_input, DecodeSpec(), ("thing",))
        self._result = Result(
            (SIDE_PX, SIDE_PX),
            self.spec.labels,
            np.ones((DETECTIONS, 4), np.float32),
            np.ones(DETECTIONS, np.float32),
            np.zeros(DETECTIONS, np.int32),
        )

    def run(self, batch: npt.NDArray[Any], geometries: Sequence[Geometry]) -> list[Answer]:
        return [self._result] * len(geometries)

    def close(self) -> None:
        pass


def serve(path: Path) -> int:
    """Start the server in a child process that dies with this one; its process id."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid:
        listener.close()
        return pid
    try:
        tie_to_parent(parent_pid)
        server = Server({DIGEST: NoOpModel()}, listener)
        while True:
            server.step(1.0)
    finally:
        os._exit(1)


def round_trips(image: npt.NDArray[np.uint8], rounds: int) -> list[float]:
    """Microseconds of each request."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "engine"
        pid = serve(path)
        engine = AttachedEngine(str(path), DIGEST)
        try:
            if not engine.connect(ATTACH_TIMEOUT_S):
                raise SystemExit(f"the engine does not accept: {engine.problem}")
            return _time(rounds, lambda: engine.submit([image]).wait(ANSWER_TIMEOUT_S))
        finally:
            engine.close()
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def bare_socket(rounds: int) -> list[float]:
    """Microseconds of each exchange of a request's and an answer's bytes with a child that only echoes."""
    request, answer = bytes(REQUEST_BYTES), bytes(ANSWER_BYTES)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        while theirs.recv(4096):
            theirs.send(answer)
        os._exit(0)
    theirs.close()

    def exchange() -> None:
        ours.send(request)
        ours.recv(4096)

    try:
        return _time(rounds, exchange)
    finally:
        ours.close()
        os.waitpid(pid, 0)


def measure(rounds: int) -> dict[str, float]:
    """The figures, in microseconds."""
    image = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
    trips_us = round_trips(image, rounds)
    bare_us = bare_socket(rounds)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        one_core_us = round_trips(image, rounds)
    finally:
        os.sched_setaffinity(0, cores)
    return {
        "round_trip_us": statistics.median(trips_us),
        "round_trip_p95_us": statistics.quantiles(trips_us, n=20)[-1],
        "round_trip_best_us": min(trips_us),
        "bare_socket_us": statistics.median(bare_us),
        "one_core_us": statistics.median(one_core_us),
        "in_process_us": statistics.median(_in_process(image, rounds)),
        "bytes": image.nbytes,
        "rounds": rounds,
    }


def _in_process(image: npt.NDArray[np.uint8], rounds: int) -> list[float]:
    model = NoOpModel()
    prepare = preprocessor(model.spec.input)
    tensor = np.empty(model.spec.input.tensor_shape, np.uint8)
    return _time(rounds, lambda: model.run(tensor[np.newaxis], [prepare.into(image, tensor)]))


def _time(rounds: int, call: Any) -> list[float]:
    for _ in range(rounds // 10):
        call()
    taken_us = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken_us.append((time.perf_counter() - started) * 1e6)
    return taken_us


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slot_roundtrip")
    parser.add_argument("--rounds", type=int, default=5000)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    figures = {name: round(value, 1) for name, value in measure(arguments.rounds).items()}
    if arguments.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:20} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
