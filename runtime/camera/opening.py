"""Which way a camera is opened."""

from __future__ import annotations

from runtime.camera.opencv import open_with_opencv
from runtime.camera.source import Source
from wire.local import CameraSource


def open_camera(camera: CameraSource) -> Source:
    """Open a camera.

    :raises SourceRefused: the source cannot ever work
    :raises Transient: it cannot be opened now
    """
    return open_with_opencv(camera)
