"""Microseconds per frame that the workflow engine takes: `python -m benchmarks.workflow_overhead --json`.

With `--peer-python PATH` (or OUTRIDER_PEER_PYTHON) the original engine of that environment runs the same definitions on the same
boxes, in turn with ours; `three_step_ratio` and `five_step_ratio` are ours ÷ theirs (budgets 0.1 and 0.25).

`three_step_us`: filter, count, expression on 20 detections. `five_step_us`: tracker, filter, line counter, count, expression on
the same; `five_step_own_us`: that without the tracker's step. Medians; nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from runtime.results import Result
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.values import DetectionIds, Detections, ImageValue, VideoMetadata, from_result

BOXES = 20
ROUNDS = 2000
WARM_UP = 200
PAIRS = 3
PEER_ROUNDS = 400
CHUNK = 20
"""Frames of one measurement: the clock's own cost disappears."""


def operand(name: str, *operations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "DynamicOperand", "operand_name": name, "operations": list(operations)}


def binary(left: dict[str, Any], comparator: str, value: Any) -> dict[str, Any]:
    right = {"type": "StaticOperand", "value": value}
    return {
        "type": "BinaryStatement",
        "left_operand": left,
        "comparator": {"type": comparator},
        "right_operand": right,
    }


def extract(name: str) -> dict[str, Any]:
    return operand("_", {"type": "ExtractDetectionProperty", "property_name": name})


def tail(predictions: str) -> list[dict[str, Any]]:
    """Filter, count, expression."""
    condition = {
        "type": "StatementGroup",
        "operator": "and",
        "statements": [
            binary(extract("class_name"), "==", "person"),
            binary(extract("confidence"), "(Number) >", 0.4),
        ],
    }
    case = {
        "type": "CaseDefinition",
        "condition": {"type": "StatementGroup", "statements": [binary(operand("n"), "(Number) >", 5)]},
        "result": {"type": "StaticCaseResult", "value": "crowd"},
    }
    return [
        {
            "type": "roboflow_core/detections_filter@v1",
            "name": "filter",
            "predictions": predictions,
            "operations": [{"type": "DetectionsFilter", "filter_operation": condition}],
            "operations_parameters": {},
        },
        {
            "type": "roboflow_core/property_definition@v1",
            "name": "count",
            "data": "$steps.filter.predictions",
            "operations": [{"type": "SequenceLength"}],
        },
        {
            "type": "roboflow_core/expression@v1",
            "name": "verdict",
            "data": {"n": "$steps.count.output"},
            "switch": {
                "type": "CasesDefinition",
                "cases": [case],
                "default": {"type": "StaticCaseResult", "value": "quiet"},
            },
        },
    ]


def definition(*, tracked: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    outputs = ["filter.predictions", "count.output", "verdict.output"]
    if tracked:
        steps = [
            {
                "type": "roboflow_core/byte_tracker@v3",
                "name": "tracker",
                "image": "$inputs.image",
                "detections": "$inputs.detections",
            },
            {
                "type": "roboflow_core/line_counter@v2",
                "name": "line",
                "image": "$inputs.image",
                "detections": "$steps.tracker.tracked_detections",
                "line_segment": [[320, 0], [320, 480]],
            },
        ]
        outputs += ["line.count_in", "line.count_out"]
    return {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowBatchInput", "name": "detections", "kind": ["object_detection_prediction"]},
        ],
        "steps": steps + tail("$steps.tracker.tracked_detections" if tracked else "$inputs.detections"),
        "outputs": [
            {"type": "JsonField", "name": o.replace(".", "_"), "selector": f"$steps.{o}"} for o in outputs
        ],
    }


def frames(count: int) -> list[tuple[ImageValue, Detections]]:
    """Boxes that drift through a picture of 640 × 480 px, reproducibly."""
    rng = np.random.default_rng(7)
    corner = rng.uniform((0, 0), (560, 400), (BOXES, 2))
    speed = rng.uniform(-2, 2, (BOXES, 2))
    size = rng.uniform(30, 80, (BOXES, 2))
    scores = np.sort(rng.uniform(0.3, 0.95, BOXES))[::-1].astype(np.float32)
    classes = rng.integers(0, 2, BOXES).astype(np.int32)
    pixels, ids = np.zeros((480, 640, 3), np.uint8), DetectionIds()
    out = []
    for n in range(count):
        start = np.abs((corner + speed * n + 560) % 1120 - 560)
        boxes = np.hstack([start, start + size]).astype(np.float32)
        image = ImageValue(pixels, VideoMetadata("bench", n, n / 30, 30.0, True))
        answer = Result((640, 480), ("person", "car"), boxes, scores, classes)
        out.append((image, from_result(answer, image, ids)))
    return out


def measure(document: dict[str, Any], rounds: int) -> tuple[float, dict[str, float]]:
    """Median microseconds a frame, in all and of each step."""
    executor = Executor(compile_definition(document), {})
    times: list[float] = []
    steps: dict[str, list[float]] = {}
    data = frames(rounds + WARM_UP)
    for start in range(0, len(data), CHUNK):
        begun_ns = time.perf_counter_ns()
        for image, detections in data[start : start + CHUNK]:
            outcome = executor.run({"image": image, "detections": detections})
        spent_us = (time.perf_counter_ns() - begun_ns) / 1000 / len(data[start : start + CHUNK])
        if outcome.errors:
            raise SystemExit(f"the workflow fails: {outcome.errors}")
        if start >= WARM_UP:
            times.append(spent_us)
            for name, step_us in outcome.step_times_us.items():
                steps.setdefault(name, []).append(step_us)
    return statistics.median(times), {name: statistics.median(v) for name, v in steps.items()}


def peer_us(document: dict[str, Any], python: str, rounds: int) -> float:
    """Median microseconds a frame of the original engine.

    :raises SystemExit: it does not run
    """
    data = [detections for _, detections in frames(rounds)]
    given = {
        "definition": document,
        "boxes": [d.xyxy.tolist() for d in data],
        "scores": data[0].confidence.tolist(),
        "classes": data[0].class_id.tolist(),
        "wh": [640, 480],
    }
    script = Path(__file__).with_name("peer_overhead.py")
    done = subprocess.run(
        [python, str(script)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the original engine does not run: {done.stderr[-500:]}")
    return float(done.stdout.strip().splitlines()[-1])


def compared(documents: tuple[dict[str, Any], dict[str, Any]], python: str, rounds: int) -> dict[str, float]:
    """Ours and theirs in turn, three times; the medians and the ratios."""
    ours: list[list[float]] = [[], []]
    theirs: list[list[float]] = [[], []]
    for _ in range(PAIRS):
        for i, document in enumerate(documents):
            ours[i].append(measure(document, rounds)[0])
            theirs[i].append(peer_us(document, python, min(rounds, PEER_ROUNDS)))
    three, five = (statistics.median(t) for t in theirs)
    return {
        "peer_three_step_us": round(three, 1),
        "peer_five_step_us": round(five, 1),
        "three_step_ratio": round(statistics.median(ours[0]) / three, 4),
        "five_step_ratio": round(statistics.median(ours[1]) / five, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--peer-python",
        default=os.environ.get("OUTRIDER_PEER_PYTHON", ""),
        help="the interpreter of an environment that holds the original engine",
    )
    args = parser.parse_args()
    three_us, three_steps = measure(definition(tracked=False), args.rounds)
    five_us, five_steps = measure(definition(tracked=True), args.rounds)
    figures: dict[str, Any] = {
        "three_step_us": round(three_us, 1),
        "five_step_us": round(five_us, 1),
        "five_step_own_us": round(five_us - five_steps["tracker"], 1),
        "boxes": BOXES,
        "three_steps_us": {k: round(v, 1) for k, v in three_steps.items()},
        "five_steps_us": {k: round(v, 1) for k, v in five_steps.items()},
    }
    if args.peer_python:
        documents = (definition(tracked=False), definition(tracked=True))
        figures |= compared(documents, args.peer_python, args.rounds)
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
