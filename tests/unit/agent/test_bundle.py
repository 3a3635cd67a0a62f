"""Bundles carried in: copied whole or not at all, gone on with after a cut, believed only as metadata says; and who vouches meanwhile."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.backoff import Backoff
from agent.bundle import Reader, carry_in
from agent.errors import ArtifactRefused, Refused, Transient
from agent.files import DISK, Disk
from agent.identity import Identity
from agent.inbox import OUTCOME, Inbox
from agent.metadata import Metadata
from agent.store import Store
from agent.trust import Gate
from agent.update.journal import Journal
from agent.vouch import Vouch
from tests.fakes.repository import DAY_S, Repository
from tests.unit.agent.clocks import ManualClock
from wire import desired, dsse
from wire.desired import Desired
from wire.enrol import Broker
from wire.manifest import FileEntry, Manifest, digest_of
from wire.reasons import Reason

FILES = {"model.toml": b"toml", "weights.onnx": b"weights" * 1000}
MANIFEST = Manifest(
    files=tuple(FileEntry(path=p, sha256=digest_of(c), size=len(c)) for p, c in FILES.items())
)


class Site:
    """An enrolled device and a control plane that exports for it."""

    def __init__(self, root: Path, clock: ManualClock) -> None:
        self.root, self.clock = root, clock
        self.repository = Repository(clock.wall())
        self.state = Ed25519PrivateKey.generate()
        self.device = root / "device"
        self.device.mkdir()
        self.offered: list[object] = []
        self.refused: list[Reason] = []

    def export(self, name: str = "stick", *, vouched: bool = True, revision: int = 1) -> Path:
        stick = self.root / name
        (stick / "objects").mkdir(parents=True)
        if vouched:
            self.repository.add(MANIFEST.encode())
            self.repository.publish()
        document = Desired.model_validate(
            {
                "device": "d",
                "revision": revision,
                "issued_at": 1.0,
                "models": {"m": {"digest": MANIFEST.digest}},
            }
        )
        contents = [MANIFEST.encode(), *FILES.values()]
        for content in contents:
            (stick / "objects" / digest_of(content)[7:]).write_bytes(content)
        body = {
            "kind": "outrider-bundle",
            "fleet": "f",
            "made_at": 1.0,
            "devices": {"d": desired.sign(document, self.state)},
            "metadata": {name: content.decode() for name, content in self.repository.files.items()},
            "objects": {digest_of(content): len(content) for content in contents},
        }
        (stick / "bundle.json").write_text(json.dumps(body))
        return stick

    def carry(self, stick: Path, device: Path | None = None, disk: Disk = DISK, free: int = 0) -> None:
        carry_in(
            Reader(stick), device or self.device, "d", lambda _d, _t: None, keep_free_bytes=free, disk=disk
        )

    def take(self, pinned: bool = True, store: Store | None = None) -> dict[str, Any]:
        """What the agent makes of what lies ready."""
        public = dsse.public_bytes(self.state)
        keys = {dsse.key_id(public): public}
        who = Identity("", "f", "d", "", Broker(host="h", port=1, username="u", password=""), keys)
        metadata = Metadata(self.device, self.repository.root_1, self.clock) if pinned else None
        vouch = vouch_of(metadata, self.repository, self.clock)
        journal = Journal(self.device)
        inbox = Inbox(
            self.device, who, vouch, Gate(who, self.clock), journal, store or Store(self.device), self.offered.append,
            lambda reason, _why: self.refused.append(reason),
        )  # fmt: skip
        asyncio.run(inbox._take(self.device / "inbox/ready"))
        journal.close()
        outcome: dict[str, Any] = json.loads((self.device / "inbox" / OUTCOME).read_text())
        return outcome


def vouch_of(
    metadata: Metadata | None, source: Any, clock: ManualClock, slept: list[float] | None = None
) -> Vouch:
    async def sleep(delay_s: float) -> None:
        if slept is not None:
            slept.append(delay_s)

    return Vouch(metadata, source, {}, clock, lambda: Backoff(1, 1, lambda: 1.0), refresh_s=9.0, sleep=sleep)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, ManualClock())


@pytest.mark.parametrize("pinned", [True, False])
def test_a_bundle_fills_the_store_and_its_document_is_handed_on(site: Site, pinned: bool) -> None:
    site.carry(site.export())
    assert site.take(pinned) == {"ok": True, "revision": 1}
    model = Store(site.device).model_path(MANIFEST.digest)
    assert {name: (model / name).read_bytes() for name in FILES} == FILES
    assert len(site.offered) == 1
    assert not (site.device / "inbox/ready").exists()


class Hasty(Store):
    """An update that ends meanwhile clears the store after each object that is asked for, and once all are there."""

    def object_path(self, digest: str) -> Path:
        self.collect(())
        return super().object_path(digest)

    async def fetch_model(self, *given: Any, **more: Any) -> Path:
        path = await super().fetch_model(*given, **more)
        self.collect(())
        return path


def test_an_update_that_ends_meanwhile_takes_nothing_away_that_the_bundle_has_brought(site: Site) -> None:
    site.carry(site.export())
    store = Hasty(site.device)
    site.offered = Kept(store)
    assert site.take(store=store) == {"ok": True, "revision": 1}
    assert site.offered == [True], "whole when its document was handed on"
    store.collect(())
    assert not store.model_path(MANIFEST.digest).exists(), "held no longer than that"


class Kept(list[object]):
    """Notes whether the model is there when the document is handed on."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def append(self, _document: object) -> None:
        super().append((self._store.model_path(MANIFEST.digest) / "weights.onnx").exists())


def test_what_nobody_vouches_for_is_refused_though_it_is_on_the_stick(site: Site) -> None:
    site.carry(site.export(vouched=False))
    assert site.take()["reason"] == "target-unknown"
    assert (site.offered, site.refused) == ([], [Reason.TARGET_UNKNOWN])
    assert not Store(site.device).model_path(MANIFEST.digest).exists()


def test_a_bundle_that_is_too_old_is_refused(site: Site) -> None:
    stick = site.export()
    site.clock.advance(31 * DAY_S)
    site.carry(stick)
    assert site.take()["reason"] == "metadata-expired"
    assert site.offered == []


def test_nonsense_that_lies_ready_is_removed_and_the_agent_goes_on(site: Site) -> None:
    ready = site.device / "inbox/ready"
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
        ready.mkdir(parents=True)
        (ready / "bundle.json").write_bytes(content)
        assert site.take()["ok"] is False
        assert not ready.exists()


def test_a_damaged_object_no_room_and_another_device_are_told(site: Site, tmp_path: Path) -> None:
    stick = site.export()
    with pytest.raises(Refused, match="are to stay free"):
        site.carry(stick, free=2**60)
    with pytest.raises(Refused, match="is for d, this is e"):
        carry_in(Reader(stick), site.device, "e", lambda _d, _t: None, keep_free_bytes=0)
    weights = stick / "objects" / digest_of(FILES["weights.onnx"])[7:]
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    with pytest.raises(Refused, match="damaged"):
        site.carry(stick)
    weights.unlink()
    with pytest.raises(Refused, match="not in the bundle"):
        site.carry(stick)


def test_a_tar_is_read_in_place(site: Site) -> None:
    stick = site.export()
    packed = site.root / "stick.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(stick, ".", filter=lambda info: info if info.isdir() else None, recursive=False)
        for path in (stick / "bundle.json", *(stick / "objects").iterdir()):
            tar.add(path, path.relative_to(stick).as_posix())
    site.carry(packed)
    assert site.take()["ok"]


# --- vouching ---------------------------------------------------------------------------------------------------------


class Flaky:
    """A source that is away for a while."""

    def __init__(self, source: Repository, times: int) -> None:
        self.source, self.times = source, times

    async def metadata(self, name: str, max_bytes: int) -> bytes | None:
        if self.times:
            self.times -= 1
            raise Transient(Reason.METADATA_UNREACHABLE, "away")
        return await self.source.metadata(name, max_bytes)


def test_vouching_waits_for_a_network_and_asks_once_for_many(site: Site) -> None:
    repository, told, slept = site.repository, [], []  # type: ignore[var-annotated]
    digests = [repository.add(b"%d" % number) for number in range(3)]
    repository.publish()
    metadata = Metadata(site.device, repository.root_1, site.clock)
    vouch = vouch_of(metadata, Flaky(repository, 2), site.clock, slept)
    vouch.trouble = lambda reason, _why: told.append(reason)

    async def main() -> None:
        assert [await vouch.vouched("model", digest) for digest in digests] == [1, 1, 1]
        assert repository.asked.count("timestamp.json") == 1
        later = repository.add(b"four")
        repository.publish()
        assert await vouch.vouched("model", later) == 4, "an unknown one is asked for anew"
        with pytest.raises(ArtifactRefused) as refused:
            await vouch.vouched("workflow", later)
        assert refused.value.reason is Reason.TARGET_UNKNOWN

    asyncio.run(main())
    assert told == [Reason.METADATA_UNREACHABLE] * 2
    assert len(slept) == 2
    public = bytes.fromhex(repository.keys["state"][0].public_key.keyval["public"])
    assert dict(vouch.state_keys()) == {dsse.key_id(public): public}
