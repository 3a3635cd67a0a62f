"""Clips at a real control plane: uploaded once, bounded, watched by whom is recorded, out of others' reach."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.fleet_stand import Stand

FILM = b"\x1a\x45\xdf\xa3" + bytes(1000)
ABOUT = {"camera": "gate", "from_wall": 1.0, "to_wall": 5.0, "frames": 20, "width": 640, "height": 360}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    bounds = {"limits": {"clip_bytes": 2000, "clips_bytes": 3500, "body_bytes": 200_000}}
    stand = Stand(tmp_path_factory.mktemp("plane"), more=bounds)
    yield stand
    stand.stop()


def upload(
    stand: Stand, identity: dict[str, Any], content: bytes = FILM, clip: str = "", **about: Any
) -> tuple[str, httpx.Response]:
    clip = clip or uuid.uuid4().hex
    headers = {"Authorization": f"Bearer {identity['api_token']}", "Content-Type": "video/webm"}
    url = f"{stand.url}/api/v1/device/clips/{clip}"
    return clip, httpx.put(url, params={**ABOUT, **about}, content=content, headers=headers)


def test_a_film_is_kept_once_and_watching_it_is_recorded(stand: Stand) -> None:
    identity = stand.enrol("e1")
    clip, answer = upload(stand, identity)
    assert answer.status_code == 204, answer.text
    assert upload(stand, identity, FILM + b"other", clip)[1].status_code == 204
    listed = stand.get("/api/v1/devices/e1/clips").json()["items"]
    assert [(c["id"], c["camera"], c["size_bytes"]) for c in listed] == [(clip, "gate", len(FILM))]
    film = stand.get(f"/api/v1/devices/e1/clips/{clip}")
    assert (film.content, film.headers["content-type"]) == (FILM, "video/webm")
    with stand.client() as client:
        assert client.clip("e1", clip) == FILM
        watched = list(client.audit(action="clip.watch"))
    assert [row["subject"] for row in watched] == [f"e1/gate/{clip}"] * 2
    assert stand.get(f"/api/v1/devices/e1/clips/{uuid.uuid4().hex}").status_code == 404
    assert httpx.get(f"{stand.url}/api/v1/devices/e1/clips/{clip}").status_code == 401


def test_what_is_no_film_or_too_long_is_refused(stand: Stand) -> None:
    identity = stand.enrol("e2")
    assert upload(stand, identity, b"<html>" + bytes(100))[1].status_code == 422
    assert upload(stand, identity, FILM + bytes(2000))[1].status_code == 413
    assert upload(stand, identity, clip="../../x")[1].status_code in (400, 404, 405, 422)
    assert upload(stand, identity, width=0)[1].status_code in (400, 422)
    assert upload(stand, {"api_token": "wrong"})[1].status_code == 401
    assert stand.get("/api/v1/devices/e2/clips").json()["items"] == []


def test_the_oldest_of_a_device_give_way_and_their_bytes_go(stand: Stand) -> None:
    one, other = stand.enrol("e3"), stand.enrol("e4")
    upload(stand, other, FILM + b"z")
    before = stand.object_keys()
    ids = [upload(stand, one, FILM + bytes([n]))[0] for n in range(5)]
    kept = [c["id"] for c in stand.get("/api/v1/devices/e3/clips").json()["items"]]
    assert kept == ids[:1:-1]
    assert len(stand.object_keys()) == len(before) + 3
    assert len(stand.get("/api/v1/devices/e4/clips").json()["items"]) == 1
    page = stand.get("/api/v1/devices/e3/clips?limit=2").json()
    assert len(page["items"]) == 2
    rest = stand.get(f"/api/v1/devices/e3/clips?limit=2&cursor={page['next']}").json()
    assert [c["id"] for c in page["items"] + rest["items"]] == kept
