"""A power cut between any two calls of the disk: what comes back is the old or the new, never neither."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agent import identity
from agent.backoff import Backoff
from agent.download import Downloader
from agent.files import Disk, SystemDisk, link_atomic, make_directories, write_atomic
from agent.keys import FileKeys
from agent.store import Store
from agent.update.journal import Document, Journal
from tests.fakes.power_cut import CutDisk, Left, PowerCut
from wire.enrol import Broker
from wire.manifest import FileEntry, Manifest, digest_of
from wire.phase import Phase


def every_cut(
    tmp_path: Path,
    prepare: Callable[[Path], None],
    work: Callable[[Path, Disk], None],
    check: Callable[[Path, bool], None],
) -> int:
    """Do the work with a cut before its first call, its second … to its end; `check` gets what is left and whether all was done."""
    cut_at, done = 0, False
    while not done:
        place = tmp_path / f"{cut_at}"
        place.mkdir()
        prepare(place)
        disk = CutDisk(place, cut_at)
        try:
            work(place, disk)
            done = True
        except PowerCut:
            pass
        for how in Left:
            check(disk.left(tmp_path / f"{cut_at}-{how.name}", how), done)
        cut_at += 1
    return cut_at


def test_a_file_that_is_replaced_is_the_old_or_the_new(tmp_path: Path) -> None:
    def check(place: Path, done: bool) -> None:
        assert (place / "x").read_bytes() in ((b"new",) if done else (b"old", b"new"))

    cuts = every_cut(
        tmp_path,
        lambda place: (place / "x").write_bytes(b"old") and None,
        lambda place, disk: write_atomic(place / "x", b"new", disk=disk),
        check,
    )
    assert cuts == 6


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
def test_the_cut_disk_shows_a_sync_that_is_forgotten(tmp_path: Path, forgotten: str) -> None:
    (tmp_path / "a").mkdir()
    disk = CutDisk(tmp_path / "a")
    setattr(disk, forgotten, lambda _what: None)
    write_atomic(tmp_path / "a" / "x", b"new", disk=disk)
    found = [disk.left(tmp_path / how.name, how) / "x" for how in (Left.NOTHING, Left.NAMES)]
    contents = [path.read_bytes() if path.exists() else None for path in found]
    assert contents != [b"new", b"new"]


def test_a_link_and_a_directory_below_a_new_one_are_there_or_not(tmp_path: Path) -> None:
    def work(place: Path, disk: Disk) -> None:
        make_directories(place / "a" / "b", disk=disk)
        write_atomic(place / "a" / "b" / "x", b"new", disk=disk)
        link_atomic(place / "current", "a/b/x", disk=disk)

    def check(place: Path, done: bool) -> None:
        assert (place / "current").read_bytes() in ((b"new",) if done else (b"old", b"new"))

    def prepare(place: Path) -> None:
        (place / "before").write_bytes(b"old")
        (place / "current").symlink_to("before")

    every_cut(tmp_path, prepare, work, check)


def test_the_journal_runs_the_old_revision_or_the_new(tmp_path: Path) -> None:
    def document(revision: int) -> Document:
        return Document(revision, json.dumps({"revision": revision}).encode())

    def prepare(place: Path) -> None:
        journal = Journal(place)
        journal.accept(document(1), 1.0)
        journal.point(1)
        journal.commit(1, 1.0)
        journal.close()

    def work(place: Path, disk: Disk) -> None:
        journal = Journal(place, disk)
        try:
            journal.accept(document(2), 2.0)
            journal.point(2)
            journal.commit(2, 2.0)
            journal.forget()
        finally:
            journal.close()

    def check(place: Path, done: bool) -> None:
        journal = Journal(place)
        current = journal.current()
        assert current is not None
        assert current.revision in ((2,) if done else (1, 2))
        if journal.highest() == 2 and (outcome := journal.outcome()) and outcome.phase is Phase.OFFERED:
            unfinished = journal.unfinished()
            assert unfinished is not None, "an accepted document can be taken up again"
        journal.close()

    every_cut(tmp_path, prepare, work, check)


class Shelf:
    """Objects at hand, written as a download writes them."""

    def __init__(self, disk: Disk, *contents: bytes) -> None:
        self._disk = disk
        self._contents = {digest_of(content): content for content in contents}

    async def vouched(self, _kind: str, _digest: str) -> int | None:
        return None

    async def fetch(self, digest: str, target: Path, **_limits: object) -> None:
        part = target.with_name(target.name + ".part")
        with self._disk.open(part) as file:
            file.write(self._contents[digest])
            self._disk.sync(file)
        self._disk.replace(part, target)
        self._disk.sync_directory(target.parent)


def test_a_download_that_a_cut_ended_goes_on_and_is_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    digest = digest_of(content)

    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if start >= len(content):
            return httpx.Response(416)
        return httpx.Response(206 if start else 200, stream=httpx.ByteStream(content[start:]))

    def work(place: Path, disk: Disk) -> None:
        async def main() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                backoff = Backoff(1, 1, lambda: 0.0)
                downloader = Downloader(client, "http://c", "", lambda: backoff, keep_free_bytes=0, disk=disk)
                await downloader.fetch(digest, place / "object", max_bytes=len(content), exact=True)

        asyncio.run(main())

    def check(place: Path, done: bool) -> None:
        path = place / "object"
        assert path.exists() or not done
        if not path.exists():
            work(place, SystemDisk())
        assert path.read_bytes() == content

    assert every_cut(tmp_path, lambda _place: None, work, check) > 5


def test_the_store_holds_whole_models_only(tmp_path: Path) -> None:
    files = {"model.toml": b"toml", "sub/weights.onnx": b"weights"}
    entries = (FileEntry(path=p, sha256=digest_of(c), size=len(c)) for p, c in files.items())
    manifest = Manifest(files=tuple(entries))

    def work(place: Path, disk: Disk) -> None:
        shelf = Shelf(disk, manifest.encode(), *files.values())
        asyncio.run(Store(place, disk).fetch_model(manifest.digest, shelf))

    def check(place: Path, done: bool) -> None:
        store = Store(place)
        for path in (place / "objects/sha256").iterdir():
            assert path.suffix == ".part" or digest_of(path.read_bytes()) == f"sha256:{path.name}"
        model = store.model_path(manifest.digest)
        assert model.exists() or not done
        if model.exists():
            assert {name: (model / name).read_bytes() for name in files} == files

    assert every_cut(tmp_path, lambda _place: None, work, check) > 20


def test_the_identity_is_the_old_or_the_new(tmp_path: Path) -> None:
    def who(device: str) -> identity.Identity:
        broker = Broker(host="h", port=1, username="u", password="p")
        return identity.Identity("https://c", "f", device, "t", broker, {})

    def check(place: Path, done: bool) -> None:
        found = identity.load(place)
        assert found is not None
        assert found.device in (("new",) if done else ("old", "new"))

    every_cut(
        tmp_path,
        lambda place: identity.save(who("old"), place),
        lambda place, disk: identity.save(who("new"), place, disk),
        check,
    )


def test_a_key_that_was_told_to_somebody_is_not_lost(tmp_path: Path) -> None:
    told: list[str] = []

    def work(place: Path, disk: Disk) -> None:
        told.clear()
        told.append(FileKeys(place, disk).signing_public())

    def check(place: Path, _done: bool) -> None:
        if told:
            assert FileKeys(place).signing_public() == told[0]

    every_cut(tmp_path, lambda _place: None, work, check)


def test_what_is_left_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    disk = CutDisk(tmp_path / "a")
    with disk.open(tmp_path / "a" / "x") as file:
        file.write(b"bytes")
    seen = {}
    for how in Left:
        path = disk.left(tmp_path / how.name, how) / "x"
        seen[how.name] = path.read_bytes().decode() if path.exists() else None
    assert seen == {"NOTHING": None, "NAMES": "", "EVERYTHING": "bytes"}, json.dumps(seen)
