"""Faces are made unrecognisable in every picture that leaves, by a model that the workflow does not know of."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import outrider
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Image
from tests.fakes.agent_rig import rig, until
from tests.fakes.mosquitto import PROGRAM
from tests.faults.camera_yard import NO_MODEL
from wire import desired
from wire.desired import Camera, Desired
from wire.errors import Refused

FLOOR = (0, 400, 640, 480)
ULTRAFACE = "face_person/ultraface_rfb_320.onnx"


def change(one: Image, other: Image, box: Any) -> float:
    """The mean difference within a box, grey levels."""
    left, top, right, bottom = (int(v) for v in box)
    return float(cv2.absdiff(one[top:bottom, left:right], other[top:bottom, left:right]).mean())


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_faces_are_hidden_in_snapshots_and_clips(assets: Path, tmp_path: Path) -> None:
    if not (assets / ULTRAFACE).is_file():
        pytest.skip(f"no {ULTRAFACE} in the assets")
    (picture,) = (assets / "images").rglob("*005001.jpg")
    wishes = PackOptions(golden=str(picture))
    package = pack(assets / ULTRAFACE, tmp_path / "face.pkg", wishes, LoadOptions(cache_dir=tmp_path))
    film = tmp_path / "still.mp4"
    command = ["ffmpeg", "-v", "error", "-loop", "1", "-t", "4", "-i", str(picture), "-r", "10", "-crf", "10"]
    subprocess.run([*command, "-vf", "scale=640:480", "-pix_fmt", "yuv420p", str(film)], check=True)
    seen = np.asarray(cv2.VideoCapture(str(film)).read()[1], np.uint8)
    with outrider.load(package.directory, cache_dir=tmp_path) as model:
        found = model.predict(seen).boxes
    faces = [box for box in found if box[2] - box[0] >= 20]
    assert faces, "there is a face large enough to look at"

    with rig(tmp_path, real=True, silent_s=10.0, switch_deadline_s=20.0) as made:
        files = {
            p.relative_to(package.directory).as_posix(): p.read_bytes()
            for p in package.directory.rglob("*")
            if p.is_file()
        }
        document: dict[str, Any] = {
            "workflows": {"w": {"digest": made.plane.add_workflow(NO_MODEL)}},
            "models": {"ultraface": {"digest": made.plane.add_model(files), "engine": {"threads": 1}}},
            "pipelines": {"gate": {"camera": "gate", "workflow": "w"}},
        }
        camera = {"source": str(film), "loop": True, "clips": {"seconds": 6}}
        made.start()
        made.push(1, cameras={"gate": {**camera, "privacy": {"faces": "ultraface"}}}, **document)
        made.observer.reported("COMMITTED", 1, 90.0)
        answer = until(lambda: (a := made.get("/cameras/gate/snapshot.jpg")).status_code == 200 and a, 60.0)
        shown = np.asarray(cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1), np.uint8)
        assert min(change(seen, shown, box) for box in faces) > 8.0
        assert change(seen, shown, FLOOR) < 4.0, "what is no face is as it was"
        clip = until(lambda: (a := made.get("/cameras/gate/clip?seconds=3")).status_code == 200 and a, 60.0)
        (tmp_path / "clip.webm").write_bytes(clip.content)
        frame = np.asarray(cv2.VideoCapture(str(tmp_path / "clip.webm")).read()[1], np.uint8)
        assert min(change(seen, frame, box) for box in faces) > 8.0
        assert change(seen, frame, FLOOR) < 8.0
        event_models = made.observer.wait(lambda: made.observer.of("event"))[0]["models"]
        assert event_models == {}, "the model of the policy is none of the workflow's"


def test_a_model_for_faces_has_to_be_in_the_document() -> None:
    camera = Camera.model_validate({"source": "0", "privacy": {"faces": "ultraface"}})
    with pytest.raises(Refused, match=r"privacy\.faces"):
        desired.check(Desired(device="d", revision=1, issued_at=1.0, cameras={"gate": camera}))
