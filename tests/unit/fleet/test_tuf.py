"""The control plane's trust metadata: made, kept in line with the registry, renewed, rotated, signed elsewhere."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from fleet.config import TrustDays
from fleet.db import Database
from fleet.errors import NotFound, Refused, Transient
from fleet.lease import Leadership
from fleet.tables import StoredObject, Version
from fleet.tuf import roles
from fleet.tuf.keys import KeyRing, from_raw, load_key, make_key, public_pem
from fleet.tuf.repository import Repository
from fleet.tuf.rotation import Change, Rotation
from tests.unit.fleet.conftest import Founding, StillClock
from wire import dsse
from wire.targets import role_of, target_path

DAY_S = 86400.0


class Bench:
    """A repository with its keys on disk."""

    def __init__(self, root: Path, database: Database, clock: StillClock, founding: Founding) -> None:
        self.founding = founding
        self.root, self.database, self.clock = root, database, clock
        self.days = TrustDays()
        self.ring = KeyRing(root / "keys", root / "offline")
        self.repository = Repository(database, self.ring, clock, self.days)
        self.rotation = Rotation(database, self.ring, clock, self.days)

    def create(self, artifacts: tuple[int, int] = (1, 1)) -> None:
        self.state = self.founding.into(self.database, self.root / "keys", self.root / "offline", artifacts)

    def upload(self, number: int, kind: str = "model") -> str:
        digest = f"sha256:{number:064x}"
        with self.database.write() as session:
            session.add(StoredObject(digest=digest, size_bytes=10 + number, created_at=1.0))
            card = {"task": "detection", "family": "yolox", "labels": ["a"]}
            session.add(
                Version(kind=kind, name=f"n{number}", version=1, digest=digest, size_bytes=1, card=card,
                        created_at=float(number), created_by="me")
            )  # fmt: skip
        return digest

    def versions(self) -> dict[str, int]:
        return {role: roles.version_of(content) for role, content in self.repository.files().items()}

    def verify(self) -> None:
        """As a device would: every signature, every hash, nothing expired."""
        files = self.repository.files()
        read = {role: roles.read(content) for role, content in files.items()}
        history = [roles.read(content) for content in self.repository.roots()]
        for old, new in itertools.pairwise(history):
            roles.check(old.signed, "root", new)
        root, targets = read["root"].signed, read["targets"].signed
        for role, metadata in read.items():
            roles.check(roles.delegator_of(role, root, targets), role, metadata)
            assert metadata.signed.expires > roles.at(self.clock.wall())
        read["timestamp"].signed.snapshot_meta.verify_length_and_hashes(files["snapshot"])
        listed = read["snapshot"].signed.meta
        for role in roles.SNAPSHOT_MEMBERS:
            listed[f"{role}.json"].verify_length_and_hashes(files[role])
            assert listed[f"{role}.json"].version == read[role].signed.version

    def targets_of(self, digest: str, kind: Any = "model") -> dict[str, Any]:
        path = target_path(kind, digest)
        found: dict[str, Any] = roles.read(self.repository.files()[role_of(path)]).signed.targets
        return found

    def take_offline(self, *names: str) -> Path:
        """Move the keys of these roles away."""
        safe = self.root / "safe"
        safe.mkdir(exist_ok=True)
        for path in self.ring.paths().values():
            if any(path.name.startswith(f"tuf-{name}-") for name in names):
                shutil.move(path, safe / path.name)
        return safe

    def signed(self, safe: Path, name: str, number: int = 0) -> dict[str, Metadata[Any]]:
        """What waits, signed with one of the keys that were taken away."""
        key = load_key(sorted(safe.glob(f"tuf-{name}-*.pem"))[number])
        waiting = self.repository.pending()
        for metadata in waiting.values():
            metadata.sign(key, append=True)
        return waiting


@pytest.fixture
def bench(tmp_path: Path, database: Database, clock: StillClock, founding: Founding) -> Bench:
    return Bench(tmp_path, database, clock, founding)


def test_an_upload_makes_one_role_snapshot_and_timestamp_anew(bench: Bench) -> None:
    bench.create()
    bench.verify()
    before = bench.versions()
    digest = bench.upload(5)
    assert bench.repository.unsigned([("model", digest)]) == {digest}
    assert bench.repository.publish() == set()
    bench.verify()
    after = bench.versions()
    assert {role for role in after if after[role] != before[role]} == {"models-0", "snapshot", "timestamp"}
    target = bench.targets_of(digest)[target_path("model", digest)]
    assert target.length == 15
    assert target.custom == {"name": "n5", "version": 1, "task": "detection", "family": "yolox"}
    assert bench.repository.unsigned([("model", digest)]) == set()
    assert bench.repository.publish() == set()
    assert bench.versions() == after, "nothing to do changes nothing"


def test_online_metadata_is_renewed_before_its_end_and_offline_metadata_waits(bench: Bench) -> None:
    bench.create()
    bench.take_offline("root", "targets", "models")
    before = bench.versions()
    bench.clock.now_wall += 16 * DAY_S
    assert bench.repository.publish() == set()
    after = bench.versions()
    assert {role for role in after if after[role] != before[role]} == {"snapshot", "timestamp"}
    bench.verify()
    bench.clock.now_wall += 280 * DAY_S
    waiting = bench.repository.publish()
    assert waiting == {f"models-{digit}" for digit in "0123456789abcdef"}
    assert bench.versions()["workflows-0"] == 2


def test_leader_that_was_stopped_publishes_nothing_once_another_leads(bench: Bench) -> None:
    async def nothing() -> None:
        return

    bench.create()
    stale, new = (Leadership(bench.database, bench.clock, name, 15.0, nothing) for name in ("a", "b"))
    stale.compete()
    bench.repository.publish(stale.check)
    before = bench.versions()
    bench.clock.now_wall += 20 * DAY_S  # a machine that slept: snapshot and timestamp are due
    new.compete()
    with pytest.raises(Transient, match="another replica"):
        bench.repository.publish(stale.check)
    assert bench.versions() == before
    bench.repository.publish(new.check)
    assert bench.versions()["timestamp"] == before["timestamp"] + 1


def test_what_an_offline_key_must_sign_waits_and_comes_into_force_when_signed(bench: Bench) -> None:
    bench.create()
    safe = bench.take_offline("models")
    digest = bench.upload(1)
    assert bench.repository.publish() == {"models-0"}
    bench.verify()
    assert bench.targets_of(digest) == {}
    signed = bench.signed(safe, "models")
    bench.upload(2)
    assert bench.repository.take_signed(signed, "me") == ({"models-0"}, {"models-0"})
    assert list(bench.targets_of(digest)) == [target_path("model", digest)]
    bench.verify()


def test_artifacts_that_the_registry_does_not_hold_are_not_taken_over(bench: Bench) -> None:
    bench.create()
    safe = bench.take_offline("models")
    bench.upload(1)
    bench.repository.publish()
    waiting = bench.repository.pending()
    stranger = roles.target("sha256:" + "0" * 64, 1, "models/" + "0" * 64, {})
    waiting["models-0"].signed.targets[stranger.path] = stranger
    waiting["models-0"].sign(load_key(next(safe.glob("tuf-models-*.pem"))), append=True)
    with pytest.raises(Refused):
        bench.repository.take_signed(waiting, "me")


def test_a_threshold_needs_that_many_people(bench: Bench) -> None:
    bench.create(artifacts=(3, 2))
    safe = bench.take_offline("models")
    bench.upload(1)
    bench.repository.publish()
    one = bench.signed(safe, "models", 0)
    with pytest.raises(Refused, match="signature"):
        bench.repository.take_signed(one, "me")
    one["models-0"].sign(load_key(sorted(safe.glob("tuf-models-*.pem"))[2]), append=True)
    assert bench.repository.take_signed(one, "me")[0] == {"models-0"}
    bench.verify()


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "models", "workflows", "state"])
def test_every_key_can_be_rotated(bench: Bench, name: str) -> None:
    bench.create()
    digest = bench.upload(1)
    bench.repository.publish()
    bench.rotation.rotate(Change(name), "me")
    assert bench.repository.publish() == set()
    bench.verify()
    assert list(bench.targets_of(digest))
    delegating = "root" if name in roles.TOP_ROLES else "targets"
    assert bench.versions()[delegating] == 2
    if name == "state":
        new, old = bench.repository.state_keys()
        assert bytes.fromhex(old) == dsse.public_bytes(bench.state)
        old_id = from_raw(dsse.public_bytes(bench.state)).keyid
        assert bench.rotation.revoke(old_id[:10], "me") == ["state"]
        bench.repository.publish()
        assert bench.repository.state_keys() == (new,)


@pytest.mark.parametrize(("name", "signer"), [("snapshot", "root"), ("root", "root"), ("state", "targets")])
def test_a_rotation_waits_for_the_offline_key(bench: Bench, name: str, signer: str) -> None:
    bench.create()
    safe = bench.take_offline("root", "targets")
    bench.rotation.rotate(Change(name), "me")
    assert bench.repository.publish() == {signer}
    before = bench.versions()
    bench.upload(1)
    bench.repository.publish()
    bench.verify()
    assert bench.versions()[signer] == before[signer]
    assert bench.repository.take_signed(bench.signed(safe, signer), "me") == ({signer}, set())
    bench.verify()


def test_models_get_a_key_that_was_made_elsewhere(bench: Bench, tmp_path: Path) -> None:
    bench.create()
    digest = bench.upload(1)
    bench.repository.publish()
    vault = tmp_path / "vault"
    vault.mkdir()
    make_key(vault, "models")
    (key,) = vault.iterdir()
    bench.rotation.rotate(Change("models", (public_pem(key),)), "me")
    waiting = bench.repository.publish()
    assert {f"models-{digit}" for digit in "0123456789abcdef"} <= waiting
    assert bench.versions()["targets"] == 1, "new keys hold once everything is signed with them"
    bench.verify()
    done, rest = bench.repository.take_signed(bench.signed(vault, "models"), "me")
    assert ("models-f" in done, rest) == (True, set())
    bench.verify()
    assert list(bench.targets_of(digest))


def test_what_cannot_be_signed_any_more_is_refused(bench: Bench) -> None:
    bench.create()
    (only,) = [
        key.keyid for key in roles.key_set(roles.read(bench.repository.files()["root"]).signed, "root").keys
    ]
    with pytest.raises(Refused, match="cannot be had"):
        bench.rotation.revoke(only, "me")
    with pytest.raises(Refused, match="cannot be had"):
        bench.rotation.rotate(Change("targets", threshold=2), "me")
    with pytest.raises(Refused, match="no public key"):
        bench.rotation.rotate(Change("targets", ("nonsense",)), "me")
    with pytest.raises(NotFound):
        bench.rotation.rotate(Change("target"), "me")
    with pytest.raises(NotFound):
        bench.rotation.revoke("abcdef", "me")


def test_a_changed_file_or_a_foreign_signature_does_not_verify(bench: Bench) -> None:
    bench.create()
    root = roles.read(bench.repository.files()["root"])
    damages: list[Callable[[], None]] = [
        lambda: setattr(root.signed, "version", 9),
        lambda: (
            root.sign(load_key(next((bench.root / "keys").glob("tuf-snapshot-*.pem"))), append=False) and None
        ),
    ]
    for damage in damages:
        damage()
        with pytest.raises(roles.Unsound):
            roles.check(roles.read(bench.repository.files()["root"]).signed, "root", root)


def test_old_versions_are_forgotten_and_roots_are_not(bench: Bench) -> None:
    bench.create()
    bench.rotation.rotate(Change("root"), "me")
    for _ in range(25):
        bench.clock.now_wall += 16 * DAY_S
        bench.repository.publish()
    bench.verify()
    assert bench.versions()["timestamp"] > 25
    with pytest.raises(NotFound):
        bench.repository.file("timestamp", 2)
    assert len(bench.repository.roots()) == bench.versions()["root"] > 1


def test_a_thousand_models_make_small_files(bench: Bench) -> None:
    import hashlib

    bench.create()
    with bench.database.write() as session:
        for number in range(1000):
            digest = "sha256:" + hashlib.sha256(b"%d" % number).hexdigest()
            session.add(StoredObject(digest=digest, size_bytes=number, created_at=1.0))
            session.add(
                Version(kind="model", name=f"n{number}", version=1, digest=digest, size_bytes=1, card={"task": "detection"},
                        created_at=1.0, created_by="me")
            )  # fmt: skip
    bench.repository.publish()
    sizes = {role: len(content) for role, content in bench.repository.files().items()}
    assert max(sizes[f"models-{digit}"] for digit in "0123456789abcdef") < 40_000
    assert sizes["snapshot"] < 8_000
    assert sizes["targets"] < 12_000
