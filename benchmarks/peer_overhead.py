"""The original engine on the definitions of `workflow_overhead`: run with the interpreter of an environment where it is installed.

Reads `{definition, boxes, scores, classes, wh, rounds}` from standard input: boxes is (frames, N, 4) in pixels. Prints the median
microseconds a frame. Nothing of Outrider is imported here.
"""

import datetime
import json
import statistics
import sys
import time

import numpy as np


def main() -> None:
    import inference.core  # noqa: F401  (the engine wants its host to be imported first)
    import supervision as sv
    from roboflow_workflows.execution_engine.core import ExecutionEngine
    from roboflow_workflows.execution_engine.entities.base import (
        ImageParentMetadata,
        VideoMetadata,
        WorkflowImageData,
    )

    given = json.load(sys.stdin)
    names = (
        "model_manager",
        "api_key",
        "thread_pool_executor",
        "background_tasks",
        "step_execution_mode",
        "cache",
    )
    parameters = {f"workflows_core.{name}": None for name in names}
    parameters |= {
        "workflows_core.allow_access_to_file_system": False,
        "workflows_core.allowed_write_directory": None,
    }
    engine = ExecutionEngine.init(workflow_definition=given["definition"], init_parameters=parameters)
    width, height = given["wh"]
    pixels = np.zeros((height, width, 3), np.uint8)
    count = len(given["scores"])
    labels = np.array(["person", "car"])
    times = []
    for number, boxes in enumerate(given["boxes"]):
        facts = VideoMetadata(
            video_identifier="bench",
            frame_number=number,
            frame_timestamp=datetime.datetime.fromtimestamp(number / 30),
            fps=30,
            comes_from_video_file=True,
        )
        image = WorkflowImageData(
            parent_metadata=ImageParentMetadata(parent_id="image"), numpy_image=pixels, video_metadata=facts
        )
        classes = np.array(given["classes"])
        detections = sv.Detections(
            xyxy=np.array(boxes, np.float32),
            confidence=np.array(given["scores"], np.float32),
            class_id=classes,
            data={
                "class_name": labels[classes],
                "detection_id": np.array([f"{number}-{i}" for i in range(count)]),
                "parent_id": np.array(["image"] * count),
                "image_dimensions": np.array([[height, width]] * count),
            },
        )
        begun_ns = time.perf_counter_ns()
        engine.run(runtime_parameters={"image": image, "detections": detections})
        times.append((time.perf_counter_ns() - begun_ns) / 1000)
    print(json.dumps(statistics.median(times[len(times) // 10 :])))


if __name__ == "__main__":
    main()
