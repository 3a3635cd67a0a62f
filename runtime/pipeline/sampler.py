"""Takes some frames for re-training, with what the models found in them: by chance, and where a model was not sure.

One thread of low priority that holds one picture at a time; the frames' results never wait for it. Nothing runs, and nothing is taken,
where sampling is off or the camera's policy lets no picture reach the fleet.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime import masks
from runtime.errors import RuntimeFault
from runtime.pipeline.faces import Finder
from runtime.pipeline.snapshot import Seen
from runtime.pipeline.still import encode
from runtime.results import Result
from wire import local
from wire.camera import Privacy, Sampling

log = logging.getLogger(__name__)

JPEG_QUALITY = 92
"""Better than for the eye: what is trained on is not to learn the blocks."""
NICE = 10
MOST_LABELS = 300
MOST_HEAD_BYTES = 100 * 1024
UNCERTAIN, SAMPLED = "uncertain", "sampled"


class Choice:
    """Which frames are taken. Pure: time and chance come in."""

    def __init__(self, sampling: Sampling, chance: Callable[[], float], begun_mono: float) -> None:
        """`chance` gives 0 to 1."""
        self._sampling = sampling
        self._chance = chance
        self._next_mono = begun_mono + self._gap_s()
        self._last_mono = -1e18

    def why(self, predictions: Mapping[str, Result], at_mono: float) -> str:
        """`sampled`, `uncertain`, or empty. To be asked once for each frame, in order."""
        wanted = self._sampling
        if wanted.every_s and at_mono >= self._next_mono:
            self._next_mono = at_mono + self._gap_s()
            return SAMPLED
        if wanted.uncertain and at_mono - self._last_mono >= wanted.min_gap_s and self._doubt(predictions):
            self._last_mono = at_mono
            return UNCERTAIN
        return ""

    def _gap_s(self) -> float:
        """Half to one and a half times what is wanted, so that nothing that recurs is always met, or never."""
        return self._sampling.every_s * (0.5 + self._chance())

    def _doubt(self, predictions: Mapping[str, Result]) -> bool:
        low, high = self._sampling.uncertain
        for result in predictions.values():
            scores = [score for _, _, score in result.top(1)] if result.classes is not None else result.scores
            if any(low <= score <= high for score in scores):
                return True
        return False


class Sampler:
    """`see` is for the main thread; `tell` gets each sample, in the sampler's thread."""

    def __init__(
        self,
        camera: str,
        pipeline: str,
        sampling: Sampling,
        privacy: Privacy,
        run_dir: str,
        begun_mono: float,
    ) -> None:
        self._camera = camera
        self._pipeline = pipeline
        self._sampling = sampling
        self._privacy = privacy
        self._run_dir = Path(run_dir)
        self._finder = Finder()
        self._queue: queue.Queue[tuple[Seen, str]] = queue.Queue(1)
        self._choice = Choice(sampling, random.random, begun_mono)
        self._withheld = ""
        self.tell: Callable[[local.Message], None] = lambda _message: None
        self.on = sampling.on and privacy.pictures == "fleet"
        if self.on:
            threading.Thread(target=self._work, name="sampler", daemon=True).start()

    def see(self, seen: Seen) -> None:
        """A frame has its result."""
        if not self.on or not (why := self._choice.why(seen.predictions, seen.frame.captured_mono)):
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((seen, why))

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            seen, why = self._queue.get()
            try:
                self.tell(self._take(seen, why))
                self._withheld = ""
            except (RuntimeFault, OSError) as e:
                if str(e) != self._withheld:
                    self._withheld = str(e)
                    log.warning("no sample is taken: %s", e)

    def _take(self, seen: Seen, why: str) -> local.SampleTaken:
        still = encode(seen, self._privacy, self._finder, self._sampling.width_px, JPEG_QUALITY)
        sample = {
            "camera": self._camera,
            "frame_wall": round(seen.frame.captured_wall, 3),
            "width": still.width_px,
            "height": still.height_px,
            "media_type": "image/jpeg",
            "about": {
                **seen.origin,
                "why": why,
                "pipeline": self._pipeline,
                "frame_seq": seen.frame.seq,
                "labels": labels(seen.predictions, still.width_px),
            },
        }
        rid = uuid.uuid4().hex
        path = self._run_dir / f"sample-{rid}"
        part = path.with_suffix(".part")
        part.write_bytes(_head(sample) + b"\n" + still.jpeg)
        os.replace(part, path)
        return local.SampleTaken(rid, str(path))


def labels(predictions: Mapping[str, Result], width_px: int) -> list[dict[str, Any]]:
    """What was found, as `wire.picture.Label`, in pixels of the picture at that width."""
    found: list[dict[str, Any]] = []
    for result in predictions.values():
        scale = width_px / max(1, result.image_wh[0])
        for place, (box, score, name) in enumerate(
            zip(result.boxes.tolist(), result.scores.tolist(), result.class_names, strict=False)
        ):
            left, top, right, bottom = (value * scale for value in box)
            label: dict[str, Any] = {
                "name": name,
                "score": round(score, 4),
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            }
            if result.masks:
                label["segmentation"] = _outlines(result.masks[place], scale)
            if result.keypoints is not None:
                points = result.keypoints[place].astype(float)
                points[:, :2] *= scale
                label["keypoints"] = [round(float(value), 2) for value in points.reshape(-1)]
            found.append(label)
    return found[:MOST_LABELS]


def _outlines(mask: Mapping[str, Any], scale: float) -> list[list[float]]:
    """Each part of a mask as x1 y1 x2 y2 …"""
    import cv2
    import numpy as np

    parts, _ = cv2.findContours(
        masks.decode(mask).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1
    )
    outlines = [[round(float(value) * scale, 1) for value in part.reshape(-1)] for part in parts]
    return [outline for outline in outlines if len(outline) >= 6][:8]


def _head(sample: dict[str, Any]) -> bytes:
    """The line before the picture; outlines give way where it would be too long."""
    line = json.dumps(sample, separators=(",", ":")).encode()
    if len(line) > MOST_HEAD_BYTES:
        for label in sample["about"]["labels"]:
            label.pop("segmentation", None)
        line = json.dumps(sample, separators=(",", ":")).encode()
    return line
