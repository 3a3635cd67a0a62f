"""Samples that wait: bounded on the disk and by day, across restarts; uploads that go on where they were cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from agent.backoff import Backoff
from agent.samples import SampleStore
from agent.uploads import PART_BYTES, Parcel, Uploads
from tests.unit.agent.clocks import ManualClock
from wire.camera import Sampling
from wire.local import SampleTaken

MIB = 1024 * 1024


def take(
    store: SampleStore, folder: Path, number: int, sampling: Sampling, size: int, camera: str = "gate"
) -> bool:
    path = folder / f"taken-{number}"
    path.write_bytes(bytes(size))
    kept = store.adopt(camera, sampling, SampleTaken(f"{number:032x}", str(path)))
    assert not path.exists()
    return kept


def waiting(folder: Path) -> list[int]:
    return sorted(int(path.name[-32:], 16) for path in folder.glob("*~*"))


def test_the_oldest_of_a_camera_give_way_and_no_other_camera_suffers(tmp_path: Path) -> None:
    clock, folder = ManualClock(), tmp_path / "samples"
    store = SampleStore(folder, clock)
    small = Sampling(every_s=1, disk_bytes=MIB)
    assert take(store, tmp_path, 99, small, 900_000, "yard")
    for number in range(4):
        clock.advance(1)
        assert take(store, tmp_path, number, small, 400_000)
    assert waiting(folder) == [2, 3, 99]
    assert store.dropped == 2
    assert not take(store, tmp_path, 5, small, 2 * MIB)
    assert waiting(folder) == [2, 3, 99]


def test_a_day_has_its_bounds_and_a_restart_begins_no_new_one(tmp_path: Path) -> None:
    clock, folder = ManualClock(), tmp_path / "samples"
    bounds = Sampling(every_s=1, per_day=3, upload_bytes_day=100_000)
    store = SampleStore(folder, clock)
    assert [take(store, tmp_path, n, bounds, 60_000) for n in range(4)] == [True, True, True, False]
    first = store.next()
    assert first is not None
    store.settle(first, "done")
    assert store.next() is None
    store = SampleStore(folder, clock)
    assert store.next() is None
    assert not take(store, tmp_path, 5, bounds, 60_000)
    clock.advance(86400)
    assert store.next() is not None
    assert take(store, tmp_path, 6, bounds, 60_000)


class Plane:
    """The control plane's side of uploads in parts; breaks off after so many bytes, once."""

    def __init__(self, breaks_at: int = -1, old: bool = False) -> None:
        self.content = b""
        self.spans: list[str] = []
        self._breaks_at = breaks_at
        self._old = old

    def __call__(self, request: httpx.Request) -> httpx.Response:
        span = request.headers.get("content-range", "")
        self.spans.append(span)
        if self._old and not request.content:
            return httpx.Response(422)
        if not span or self._old:
            self.content = request.content
            return httpx.Response(204)
        total = int(span.partition("/")[2])
        self.content += request.content
        if self._breaks_at >= 0 and len(self.content) > self._breaks_at:
            self._breaks_at = -1
            raise httpx.ReadError("cut off")
        if len(self.content) == total:
            return httpx.Response(204)
        headers = {"Range": f"bytes=0-{len(self.content) - 1}"} if self.content else {}
        return httpx.Response(202, headers=headers)


class OneParcel:
    def __init__(self, path: Path) -> None:
        self.parcel: Parcel | None = Parcel("a", "gate", "samples/a", path, path.stat().st_size, "image/jpeg")
        self.outcome = asyncio.Event()
        self.told = ""
        self.on_waiting = lambda: None

    def next(self) -> Parcel | None:
        return self.parcel

    def settle(self, parcel: Parcel, outcome: str) -> None:
        self.parcel, self.told = None, outcome


async def carried(path: Path, plane: Plane, may_leave: bool | None = True, max_bytes_s: float = 0.0) -> str:
    queue = OneParcel(path)
    async with httpx.AsyncClient(transport=httpx.MockTransport(plane)) as client:
        uploads = Uploads(
            [queue], client, "http://plane", "t", lambda: Backoff(0.0, 0.0, lambda: 0.0), ManualClock(),
            max_bytes_s, lambda _camera: may_leave,
        )  # fmt: skip
        running = asyncio.create_task(uploads.run())
        for _ in range(2000):
            if queue.told:
                break
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return queue.told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (3 * PART_BYTES // 256) + b"end")
    return path


def test_an_upload_goes_on_where_it_was_cut_off(file: Path) -> None:
    plane = Plane(breaks_at=PART_BYTES)
    assert asyncio.run(carried(file, plane)) == "done"
    assert plane.content == file.read_bytes()
    total = file.stat().st_size
    begins = [span.split()[1].partition("-")[0] for span in plane.spans]
    assert begins == [
        f"*/{total}",
        "0",
        str(PART_BYTES),
        f"*/{total}",
        str(2 * PART_BYTES),
        str(3 * PART_BYTES),
    ]


def test_a_control_plane_that_knows_no_parts_gets_the_whole(file: Path) -> None:
    plane = Plane(old=True)
    assert asyncio.run(carried(file, plane)) == "done"
    assert plane.content == file.read_bytes()


def test_nothing_leaves_once_the_policy_lets_nothing_out(file: Path) -> None:
    plane = Plane()
    assert asyncio.run(carried(file, plane, may_leave=False)) == "refused"
    assert plane.spans == []
    assert asyncio.run(carried(file, plane, may_leave=None)) == "done"
