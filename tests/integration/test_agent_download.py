"""Downloads from a real HTTP server that cuts connections, lies, or has nothing; enrolment against it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from agent import identity
from agent.backoff import Backoff
from agent.clock import SystemClock
from agent.download import Downloader, HttpMetadata, desired_state
from agent.enrol import enrol
from agent.errors import ArtifactRefused, EnrolRefused, MetadataRefused, Transient
from agent.pace import Speed
from agent.store import Store
from agent.vouch import TrustedFetcher, Vouch
from tests.fakes.control_plane import TOKEN, ControlPlane
from wire.reasons import Reason


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane().serving() as plane:
        yield plane


def fetcher(downloader: Downloader) -> TrustedFetcher:
    """As an agent without a root has it."""
    clock = SystemClock(assume_synced=True)
    nowhere = HttpMetadata(httpx.AsyncClient(), "http://127.0.0.1:1", "")
    return TrustedFetcher(
        Vouch(None, nowhere, {}, clock, lambda: Backoff(1, 1, lambda: 0.0), refresh_s=1.0), downloader
    )


def with_downloader(
    plane: ControlPlane,
    work: Callable[[Downloader], Awaitable[None]],
    keep_free_bytes: int = 0,
    speed: Speed = Speed(),
) -> None:
    async def main() -> None:
        async def soon(_delay_s: float) -> None:
            await asyncio.sleep(0)

        async with httpx.AsyncClient(trust_env=False) as client:
            backoff = Backoff(0.01, 0.01, lambda: 0.0)
            await work(
                Downloader(
                    client,
                    plane.url,
                    TOKEN,
                    lambda: backoff,
                    keep_free_bytes=keep_free_bytes,
                    sleep=soon,
                    speed=speed,
                )
            )

    asyncio.run(main())


def test_a_download_that_is_cut_goes_on_where_it_stopped(plane: ControlPlane, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    digest = plane.add(content)
    plane.cut_after_bytes = 300_000
    seen: list[int] = []

    async def work(downloader: Downloader) -> None:
        await downloader.fetch(digest, tmp_path / "x", progress=seen.append)

    with_downloader(plane, work)
    assert (tmp_path / "x").read_bytes() == content
    assert plane.cuts == 3
    ranges = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in plane.requests if asked]
    assert ranges == [300_000, 600_000, 900_000]
    assert seen == sorted(seen)


def test_bytes_that_are_not_those_of_the_digest_are_refused(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"right")
    plane.objects[digest] = b"wrong"

    async def work(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused, match="upload the artifact again"):
            await downloader.fetch(digest, tmp_path / "x")

    with_downloader(plane, work)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_other_bytes_is_thrown_away_and_fetched_anew(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"right bytes")
    (tmp_path / "x.part").write_bytes(b"left over from another time, and longer")

    async def work(downloader: Downloader) -> None:
        await downloader.fetch(digest, tmp_path / "x")

    with_downloader(plane, work)
    assert (tmp_path / "x").read_bytes() == b"right bytes"


def test_more_bytes_than_were_signed_for_are_not_taken(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"x" * 100)
    plane.objects[digest] = b"x" * 100_000

    async def endless(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused) as caught:
            await downloader.fetch(digest, tmp_path / "x", max_bytes=100, exact=True)
        assert caught.value.reason is Reason.ENDLESS_DATA

    with_downloader(plane, endless)
    plane.hide_length = True
    with_downloader(plane, endless)
    assert list(tmp_path.iterdir()) == []


def test_fewer_bytes_than_were_signed_for_are_refused(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"x" * 100)

    async def short(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused, match="length 100"):
            await downloader.fetch(digest, tmp_path / "x", max_bytes=101, exact=True)

    with_downloader(plane, short)


def test_a_server_that_drips_is_left_and_the_download_goes_on_later(
    plane: ControlPlane, tmp_path: Path
) -> None:
    content = os.urandom(3000)
    digest = plane.add(content)
    plane.drip_bytes, plane.drip_s = 500, 0.3
    told: list[Reason] = []

    async def work(downloader: Downloader) -> None:
        def trouble(reason: Reason, _why: str) -> None:
            told.append(reason)
            plane.drip_bytes = None

        downloader.trouble = trouble
        await downloader.fetch(digest, tmp_path / "x")

    with_downloader(plane, work, speed=Speed(min_bytes_s=100_000.0, slow_s=0.5))
    assert told == [Reason.SLOW_RETRIEVAL]
    assert (tmp_path / "x").read_bytes() == content
    resumed = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in plane.requests if asked]
    assert resumed
    assert 0 < resumed[-1] < len(content)


def test_the_quota_of_the_store_is_kept(plane: ControlPlane, tmp_path: Path) -> None:
    small = plane.add_model({"model.toml": b"one", "weights.onnx": b"w" * 1000})
    large = plane.add_model({"model.toml": b"two", "weights.onnx": b"v" * 9000})
    store = Store(tmp_path, quota_bytes=8000)

    async def work(downloader: Downloader) -> None:
        await store.fetch_model(small, fetcher(downloader))
        with pytest.raises(ArtifactRefused) as caught:
            await store.fetch_model(large, fetcher(downloader))
        assert caught.value.reason is Reason.STORE_QUOTA

    with_downloader(plane, work)
    assert store.model_path(small).exists()


def test_metadata_is_bounded_in_length_and_time(plane: ControlPlane) -> None:
    plane.metadata["timestamp.json"] = b"x" * 1000

    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            source = HttpMetadata(client, plane.url, TOKEN, deadline_s=1.0)
            assert await source.metadata("timestamp.json", 1000) == b"x" * 1000
            assert await source.metadata("2.root.json", 1000) is None
            with pytest.raises(MetadataRefused) as refused:
                await source.metadata("timestamp.json", 999)
            assert refused.value.reason is Reason.ENDLESS_DATA
            plane.drip_bytes, plane.drip_s = 1, 0.1
            with pytest.raises(Transient) as slow:
                await source.metadata("timestamp.json", 1000)
            assert slow.value.reason is Reason.SLOW_RETRIEVAL
            with pytest.raises(Transient) as away:
                await HttpMetadata(client, "http://127.0.0.1:1", TOKEN).metadata("timestamp.json", 9)
            assert away.value.reason is Reason.METADATA_UNREACHABLE

    asyncio.run(main())


def test_a_missing_object_and_a_full_disk_are_refused_at_once(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"x" * 100)

    async def missing(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused) as caught:
            await downloader.fetch("sha256:" + "0" * 64, tmp_path / "x")
        assert caught.value.reason.value == "artifact-missing"

    async def full(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused) as caught:
            await downloader.fetch(digest, tmp_path / "x")
        assert caught.value.reason.value == "disk-full"

    with_downloader(plane, missing)
    with_downloader(plane, full, keep_free_bytes=2**60)


def test_a_model_is_checked_out_and_shares_its_files(plane: ControlPlane, tmp_path: Path) -> None:
    weights = os.urandom(1000)
    one = plane.add_model({"model.toml": b"one", "sub/weights.onnx": weights})
    two = plane.add_model({"model.toml": b"two", "sub/weights.onnx": weights})
    store = Store(tmp_path)

    async def work(downloader: Downloader) -> None:
        first = await store.fetch_model(one, fetcher(downloader))
        asked = len(plane.requests)
        second = await store.fetch_model(two, fetcher(downloader))
        assert len(plane.requests) - asked == 2
        assert (second / "sub/weights.onnx").samefile(first / "sub/weights.onnx")

    with_downloader(plane, work)
    store.collect([two])
    assert not store.model_path(one).exists()
    assert (store.model_path(two) / "model.toml").read_bytes() == b"two"
    assert (store.model_path(two) / "sub/weights.onnx").read_bytes() == weights


def test_a_manifest_that_is_none_is_refused(plane: ControlPlane, tmp_path: Path) -> None:
    digest = plane.add(b"no manifest")

    async def work(downloader: Downloader) -> None:
        with pytest.raises(ArtifactRefused, match="no manifest"):
            await Store(tmp_path).fetch_model(digest, fetcher(downloader))

    with_downloader(plane, work)


def test_the_desired_state_is_polled(plane: ControlPlane) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert await desired_state(client, plane.url, TOKEN) is None
            plane.desired = {"payload": "…"}
            assert await desired_state(client, plane.url, TOKEN) == {"payload": "…"}
            with pytest.raises(Transient):
                await desired_state(client, plane.url, "wrong")

    asyncio.run(main())


def test_enrolment_writes_an_identity_and_a_used_token_none(plane: ControlPlane, tmp_path: Path) -> None:
    async def main() -> None:
        clock = SystemClock(assume_synced=True)
        with pytest.raises(EnrolRefused, match="used up"):
            await enrol(plane.url, "another-token", tmp_path, clock)
        assert identity.load(tmp_path) is None
        made = await enrol(plane.url, "one-time-token", tmp_path, clock, labels={"site": "a"})
        assert identity.load(tmp_path) == made
        with pytest.raises(Transient, match="cannot be reached"):
            await enrol("http://127.0.0.1:1", "one-time-token", tmp_path, clock)

    asyncio.run(main())
    assert plane.enrolments[-1]["labels"] == {"site": "a"}
    assert plane.enrolments[-1]["public_key"]
    assert plane.enrolments[-1]["csr"].startswith("-----BEGIN CERTIFICATE REQUEST")
    assert "PRIVATE" not in str(plane.enrolments)
