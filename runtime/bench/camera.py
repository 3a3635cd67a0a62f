"""`python -m runtime.bench.camera`: one camera of a benchmark, a process of its own that asks as fast as it is answered.

Its order is one JSON object in argv. Says `ready` once attached, starts at the line that follows on its standard input, prints
one JSON object at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.lifeline import hold
from runtime.model.attachment import AttachedEngine
from runtime.model.engine import Engine, Ticket
from runtime.results import Image, NoAnswer

CONNECT_S = 20.0
ANSWER_S = 60.0
WARM_REQUESTS = 3
MAX_LATENCIES = 20_000


def drive(engine: Engine, images: Sequence[Image], *, in_flight: int, seconds: float) -> dict[str, Any]:
    """Ask again and again, `in_flight` requests at a time; latencies from before the resize until the answer is read.

    Ends early once a request gets no answer: what follows would only be quick refusals.
    """
    under_way: deque[tuple[Ticket, float]] = deque()
    latencies_ms: list[float] = []
    answered = unanswered = 0
    cause = ""
    started_mono = last_mono = time.monotonic()
    end_mono = started_mono + seconds
    while under_way or (last_mono < end_mono and not unanswered):
        while len(under_way) < in_flight and last_mono < end_mono and not unanswered:
            asked_mono = time.monotonic()
            under_way.append((engine.submit(images), asked_mono))
        ticket, asked_mono = under_way.popleft()
        answers = ticket.wait(ANSWER_S)
        last_mono = time.monotonic()
        latencies_ms.append(1000.0 * (last_mono - asked_mono))
        for answer in answers:
            if isinstance(answer, NoAnswer):
                unanswered += 1
                cause = cause or f"{answer.reason.value}: {answer.message}"
            else:
                answered += 1
    return {
        "answered": answered,
        "unanswered": unanswered,
        "cause": cause,
        "taken_s": last_mono - started_mono,
        "latencies_ms": [round(v, 4) for v in latencies_ms[:MAX_LATENCIES]],
    }


def main() -> int:
    hold()
    order = json.loads(sys.argv[1])
    frame = np.load(order["frame"])
    images = [frame] * order["batch"]
    engine = AttachedEngine(
        order["socket"], order["digest"], slots=order["batch"] * order["in_flight"], answer_timeout_s=ANSWER_S
    )
    if not engine.connect(CONNECT_S):
        print(json.dumps({"failed": engine.problem}), flush=True)
        return 1
    for _ in range(WARM_REQUESTS):
        engine.submit(images).wait(ANSWER_S)
    print("ready", flush=True)
    sys.stdin.readline()
    print(
        json.dumps(drive(engine, images, in_flight=order["in_flight"], seconds=order["seconds"])), flush=True
    )
    engine.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
