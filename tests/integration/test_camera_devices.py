"""Cameras at the device itself, as far as a machine without one shows: what GStreamer is told, and what is told of one that is not there.

USB: a real device is read where there is one (`OUTRIDER_TEST_V4L2=/dev/video0`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runtime.camera import gstreamer
from runtime.camera.gstreamer import launch_line
from runtime.camera.opening import open_camera
from runtime.errors import SourceRefused, Transient
from wire.camera import Care, Deadlines
from wire.local import CameraSource
from wire.reasons import Reason

PARSE = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
for line in sys.stdin:
    Gst.parse_launch(line)
    print("parsed")
"""


def camera(source: str, decoder: str = "") -> CameraSource:
    options = {"decoder": decoder} if decoder else {}
    return CameraSource("c", source, "live", options=options, care=Care(Deadlines(2.0, 2.0, 2.0)))


def test_what_gstreamer_is_told() -> None:
    on_jetson = launch_line("csi://1", jetson=True)
    assert on_jetson.startswith("nvarguscamerasrc sensor-id=1 ! nvvidconv ! video/x-raw,format=BGRx ! ")
    assert on_jetson.endswith("max-buffers=2")
    assert "sensor-id=0 " in launch_line("csi://", jetson=True)
    secret = "rtsp://viewer:hidden@10.0.0.7/main"
    for jetson in (False, True):
        assert "hidden" not in launch_line(secret, jetson=jetson)
        assert launch_line("/dev/video3", jetson=jetson).startswith("v4l2src name=source ! decodebin ! ")


def test_what_gstreamer_is_told_it_understands() -> None:
    if not gstreamer.available():
        pytest.skip("the system's GStreamer is not here")
    lines = [launch_line(uri, jetson=False) for uri in ("rtsp://10.0.0.7/main", "/dev/video0")]
    done = subprocess.run(
        [gstreamer.SYSTEM_PYTHON, "-I", "-c", PARSE], input="\n".join(lines), capture_output=True, text=True
    )
    assert done.stdout.split() == ["parsed"] * 2, done.stderr


@pytest.mark.parametrize("decoder", ["", "gstreamer"])
def test_a_device_that_is_not_there_is_told(decoder: str) -> None:
    if decoder and not gstreamer.available():
        pytest.skip("the system's GStreamer is not here")
    with pytest.raises(Transient) as told:
        open_camera(camera("/dev/video77", decoder))
    assert told.value.reason is Reason.CAMERA_UNREACHABLE


def test_a_csi_camera_has_a_number() -> None:
    if not gstreamer.available():
        pytest.skip("the system's GStreamer is not here")
    with pytest.raises(SourceRefused) as told:
        open_camera(camera("csi://front"))
    assert told.value.reason is Reason.CAMERA_SOURCE_INVALID


@pytest.mark.parametrize("decoder", ["", "gstreamer"])
def test_a_usb_camera_gives_frames(decoder: str) -> None:
    device = os.environ.get("OUTRIDER_TEST_V4L2", "/dev/video0")
    if not Path(device).exists():
        pytest.skip(f"no {device}; v4l2loopback or a camera makes one, OUTRIDER_TEST_V4L2 names it")
    source = open_camera(camera(device, decoder))
    try:
        assert source.advance()
        assert source.image() is not None
    finally:
        source.close()
