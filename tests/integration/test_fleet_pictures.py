"""Pictures at a real control plane: taken out of events, uploaded in parts, bounded, looked at within one's rights, as a COCO data set."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from tests.integration.fleet_stand import Device, Stand, event_body, eventually
from wire.picture import About, Label, Sample, pack

pytestmark = pytest.mark.usefixtures("mosquitto")
WIDTH, HEIGHT = 64, 48


def jpeg(seed: int = 1) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1])


SIZE = len(jpeg())


def sample(seed: int, camera: str = "gate", **about: Any) -> bytes:
    label = Label(name="cat", score=0.4, bbox=(1, 2, 10, 20), segmentation=[[1, 2, 11, 2, 11, 22]])
    document = Sample(
        camera=camera,
        frame_wall=1000.0 + seed,
        width=WIDTH,
        height=HEIGHT,
        about=About(why="uncertain", labels=[label], **about),
    )
    return pack(document, jpeg(seed))


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    bounds = {"limits": {"pictures_bytes": int(SIZE * 3.5), "picture_bytes": 50_000}}
    running = Stand(tmp_path_factory.mktemp("pictures") / "data", more=bounds)
    yield running
    assert running.stop() == 0


def put(stand: Stand, identity: dict[str, Any], key: str, content: bytes, span: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {identity['api_token']}"}
    if span:
        headers["Content-Range"] = f"bytes {span}"
    return httpx.put(f"{stand.url}/api/v1/device/samples/{key}", content=content, headers=headers)


def test_the_picture_of_an_event_becomes_an_object_with_labels(stand: Stand) -> None:
    identity = stand.enrol("e1")
    found = {"image": {"width": 640, "height": 480}, "predictions": [
        {"class": "cup", "confidence": 0.9, "x": 320, "y": 240, "width": 100, "height": 50}]}  # fmt: skip
    picture = {"media_type": "image/jpeg", "width": WIDTH, "height": HEIGHT}
    body = {**event_body("gate", 1), "outputs": {"found": found}, "step": "alarm"}
    with Device(identity) as device:
        text = base64.b64encode(jpeg()).decode()
        device.publish(device.topics.event("gate"), {**body, "picture": {**picture, "base64": text}}, "p-1")
        device.publish(device.topics.event("gate"), {**body, "picture": {**picture, "base64": "no"}}, "p-2")
    with stand.client() as client:
        eventually(lambda: len(list(client.fleet_events.each({}))) == 2)
        (event,) = [e for e in client.fleet_events.each({"having": ["picture"]}) if e["id"] == "p-1"]
        assert event["data"]["picture"] == {**picture, "id": "p-1", "size_bytes": SIZE}
        (shown,) = client.fleet_events.pictures({"device": "e1"})
        assert (shown["source"], shown["about"]["why"], shown["camera"]) == ("event", "event", "gate")
        (label,) = shown["about"]["labels"]
        assert (label["name"], label["bbox"]) == ("cup", [27.0, 21.5, 10.0, 5.0])
        assert client.fleet_events.picture("e1", "p-1") == jpeg()
        assert [row["subject"] for row in client.audit(action="picture.watch")] == ["e1/gate/p-1"]
        reader = client.create_api_token("r", "viewer", "site=other")["token"]
    assert text.encode() not in stand.database_content()
    assert stand.get("/api/v1/devices/e1/pictures/p-1", reader).status_code == 404
    assert stand.get("/api/v1/pictures", reader).json()["items"] == []
    assert httpx.get(f"{stand.url}/api/v1/devices/e1/pictures/p-1").status_code == 401


def test_an_upload_that_was_cut_off_goes_on_where_it_was(stand: Stand) -> None:
    identity, key, content = stand.enrol("e2"), uuid.uuid4().hex, sample(2)
    total, half = len(content), len(content) // 2
    assert "range" not in put(stand, identity, key, b"", f"*/{total}").headers
    first = put(stand, identity, key, content[:half], f"0-{half - 1}/{total}")
    assert (first.status_code, first.headers["range"]) == (202, f"bytes=0-{half - 1}")
    again = put(stand, identity, key, content[:half], f"0-{half - 1}/{total}")  # its answer was lost
    assert again.headers["range"] == f"bytes=0-{half - 1}"
    last = put(stand, identity, key, content[half:], f"{half}-{total - 1}/{total}")
    assert last.status_code == 204
    assert put(stand, identity, key, b"", f"*/{total}").status_code == 204
    assert put(stand, identity, key, content).status_code == 204
    with stand.client() as client:
        (shown,) = client.fleet_events.pictures({"device": "e2"}, "sample")
        assert (shown["id"], shown["about"]["why"]) == (key, "uncertain")
        assert client.fleet_events.picture("e2", key) == jpeg(2)
    assert not list(stand.data.parts.iterdir())


def test_what_is_no_sample_or_too_much_is_refused(stand: Stand) -> None:
    identity, key = stand.enrol("e3"), uuid.uuid4().hex
    assert put(stand, identity, key, b"{}\n" + jpeg()).status_code == 422
    assert put(stand, identity, key, b"no line").status_code in (400, 422)
    assert put(stand, identity, key, sample(1).replace(b"\xff\xd8\xff", b"GIF")).status_code in (400, 422)
    assert put(stand, identity, key, b"x", "0-0/99999999").status_code == 413
    assert put(stand, identity, key, b"xx", "0-0/5").status_code == 422
    assert put(stand, identity, key, b"x", "9-9/5").status_code == 422
    assert put(stand, identity, key, b"x" * 60_000).status_code == 413
    assert put(stand, {"api_token": "wrong"}, key, sample(1)).status_code == 401
    assert not list(stand.data.parts.iterdir())


def test_the_oldest_give_way_and_no_bytes_of_anything_else_go(stand: Stand) -> None:
    one, other = stand.enrol("e4"), stand.enrol("e5")
    assert put(stand, other, uuid.uuid4().hex, sample(11)).status_code == 204
    keys = [uuid.uuid4().hex for _ in range(5)]
    for seed, key in enumerate(keys, 11):  # the first has the same bytes as the other device's
        assert put(stand, one, key, sample(seed)).status_code == 204
    with stand.client() as client:
        assert [p["id"] for p in client.fleet_events.pictures({"device": "e4"})] == keys[:1:-1]
        (kept,) = client.fleet_events.pictures({"device": "e5"})
        assert client.fleet_events.picture("e5", kept["id"]) == jpeg(11)


def test_a_picture_is_shown_and_removed_by_command(stand: Stand, tmp_path: Path) -> None:
    identity, key = stand.enrol("e7"), uuid.uuid4().hex
    assert put(stand, identity, key, sample(31)).status_code == 204
    before = stand.object_keys()

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "outrider", "fleet", "event", *arguments]
        command += ["--url", stand.url, "--token", stand.admin_token]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path
        ).stdout

    listed = run("pictures", "--device", "e7")
    assert key in listed
    assert "1 cat" in listed
    run("picture", "e7", key)
    assert (tmp_path / f"{key}.jpg").read_bytes() == jpeg(31)
    with stand.client() as client:
        reader = client.create_api_token("looks", "viewer")["token"]
        path = f"/api/v1/devices/e7/pictures/{key}"
        assert (
            httpx.delete(stand.url + path, headers={"Authorization": f"Bearer {reader}"}).status_code == 403
        )
        run("picture", "e7", key, "--remove")
        assert list(client.fleet_events.pictures({"device": "e7"})) == []
        assert [row["subject"] for row in client.audit(action="picture.remove")] == [f"e7/gate/{key}"]
    assert len(stand.object_keys()) == len(before) - 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pictures_are_taken_away_as_a_coco_data_set(stand: Stand, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    identity = stand.enrol("e6")
    for seed in (21, 22):
        assert put(stand, identity, uuid.uuid4().hex, sample(seed, workflow="w")).status_code == 204
    command = [sys.executable, "-m", "outrider", "fleet", "event", "export", "--url", stand.url]
    command += ["--token", stand.admin_token, "--format", "coco", "--device", "e6", "--to", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "2 pictures" in done.stdout
    data_set = COCO(str(tmp_path / "annotations.json"))
    assert [category["name"] for category in data_set.loadCats(data_set.getCatIds())] == ["cat"]
    images = data_set.loadImgs(data_set.getImgIds())
    assert len(images) == 2
    for image in images:
        picture = cv2.imread(str(tmp_path / image["file_name"]))
        assert picture is not None
        assert picture.shape == (image["height"], image["width"], 3)
        (annotation,) = data_set.loadAnns(data_set.getAnnIds(image["id"]))
        assert (annotation["bbox"], annotation["score"], annotation["area"]) == ([1, 2, 10, 20], 0.4, 200)
        assert data_set.annToMask(annotation).sum() > 50
        assert image["outrider"]["why"] == "uncertain"
    with stand.client() as client:
        assert len(list(client.audit(action="picture.export"))) == 2
    assert json.loads((tmp_path / "annotations.json").read_text())["info"]["version"] == "1"
