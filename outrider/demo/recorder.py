"""Writes what was seen: the annotated pictures of a camera as a video file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from outrider.demo.processes import DemoFailed

FPS = 8.0
"""As many pictures a second are asked for; each is drawn for the recording alone."""


class Recorder:
    """Asks for a picture again and again in a thread of its own. `picture` gives JPEG bytes, or None while there is none."""

    def __init__(self, path: Path, picture: Callable[[], bytes | None]) -> None:
        """:raises DemoFailed: the folder does not exist"""
        if not path.absolute().parent.is_dir():
            raise DemoFailed(f"{path} cannot be written: the folder does not exist")
        self._path = path
        self._picture = picture
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._record, name="recorder", daemon=True)
        self.frames = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the file; it is complete when this returns."""
        self._stopping.set()
        self._thread.join(10.0)

    def _record(self) -> None:
        writer: cv2.VideoWriter | None = None
        due_mono = time.monotonic()
        while not self._stopping.wait(max(0.0, due_mono - time.monotonic())):
            due_mono = max(due_mono + 1.0 / FPS, time.monotonic())
            image = self._image()
            if image is None:
                continue
            height, width = image.shape[:2]
            if writer is None:
                writer = cv2.VideoWriter(
                    str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height)
                )
            writer.write(image)
            self.frames += 1
        if writer is not None:
            writer.release()

    def _image(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
        jpeg = self._picture()
        if jpeg is None:
            return None
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        return None if image is None else np.asarray(image, np.uint8)
