"""Trust metadata on the device: attacks on the repository, each refused with its reason, and what is known before stays known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, ConfigRefused, MetadataRefused
from agent.metadata import Metadata, check_root
from fleet.tuf import roles
from tests.fakes.repository import DAY_S, Repository, new_key
from wire import dsse
from wire.reasons import Reason
from wire.targets import target_path


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self, now_wall: float) -> None:
        self.now_wall = now_wall
        self.is_synced = True

    def mono(self) -> float:
        return self.now_wall

    def wall(self) -> float:
        return self.now_wall

    def synced(self) -> bool:
        return self.is_synced

    def boot_id(self) -> str:
        return "boot"


class Device:
    """A device that pinned the first root. `again` is its next start."""

    def __init__(self, folder: Path, repository: Repository, disk: Any = None) -> None:
        self.folder, self.repository = folder, repository
        folder.mkdir(exist_ok=True)
        self.clock = Clock(repository.now_wall)
        self.pinned = repository.root_1
        self.again(disk)

    def again(self, disk: Any = None) -> None:
        extra = {} if disk is None else {"disk": disk}
        self.metadata = Metadata(self.folder, self.pinned, self.clock, **extra)

    def refresh(self) -> None:
        asyncio.run(self.metadata.refresh(self.repository))

    def refused(self) -> Reason:
        with pytest.raises(MetadataRefused) as caught:
            self.refresh()
        return caught.value.reason

    def length(self, digest: str) -> int | None:
        async def ask() -> int | None:
            await self.metadata.refresh(self.repository)
            found = await self.metadata.target(target_path("model", digest), self.repository)
            return found.length if found else None

        return asyncio.run(ask())


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Device:
    return Device(tmp_path / "device", repository)


def test_an_artifact_is_vouched_for_with_its_length(repository: Repository, device: Device) -> None:
    digest = repository.add(b"model")
    repository.publish()
    assert device.length(digest) == 5
    assert device.length("sha256:" + "0" * 64) is None
    fetched = len(repository.asked)
    device.again()
    assert device.length(digest) == 5
    assert repository.asked[fetched:] == ["2.root.json", "timestamp.json"], (
        "what is kept is not fetched again"
    )


def test_only_the_role_of_an_artifact_is_fetched(repository: Repository, device: Device) -> None:
    digest = repository.add(b"model")
    repository.publish()
    device.length(digest)
    assert len([name for name in repository.asked if ".models-" in name]) == 1


def test_software_that_a_stranger_signed(repository: Repository, device: Device) -> None:
    good = repository.add(b"model")
    repository.publish()
    assert device.length(good) == 5
    repository.keys["models"] = [new_key()]
    evil = repository.add(b"evil")
    repository.publish()
    with pytest.raises(MetadataRefused) as caught:
        device.length(evil)
    assert caught.value.reason is Reason.METADATA_INVALID


def forged_timestamp(repository: Repository) -> None:
    repository.keys["timestamp"] = [new_key()]
    repository.stamp()


def altered_snapshot(repository: Repository) -> None:
    version = repository.now["snapshot"].signed.version
    repository.tamper(f"{version}.snapshot.json", b'"_type"', b'"_tipe"')


def mixed(repository: Repository) -> None:
    """The snapshot of one state beside targets of another."""
    repository.change("targets")
    repository.publish()
    repository.files["3.targets.json"] = repository.files["1.targets.json"]
    repository.files["2.targets.json"] = repository.files["1.targets.json"]


def missing(repository: Repository) -> None:
    repository.change("targets")
    repository.publish()
    del repository.files["2.targets.json"]


def endless(repository: Repository) -> None:
    repository.files["timestamp.json"] += b" " * 20_000


def nonsense(repository: Repository) -> None:
    repository.files["timestamp.json"] = b"[" * 10_000


def strange_root(repository: Repository) -> None:
    repository.keys["root"] = [new_key()]
    repository.change("root")
    repository.files["2.root.json"] = roles.write(repository.now["root"])


def old_root_again(repository: Repository) -> None:
    repository.files["2.root.json"] = repository.files["1.root.json"]


ATTACKS: list[tuple[Callable[[Repository], None], Reason]] = [
    (forged_timestamp, Reason.METADATA_INVALID),
    (altered_snapshot, Reason.METADATA_MISMATCH),
    (mixed, Reason.METADATA_MISMATCH),
    (missing, Reason.METADATA_MISMATCH),
    (endless, Reason.ENDLESS_DATA),
    (nonsense, Reason.METADATA_INVALID),
    (strange_root, Reason.METADATA_INVALID),
    (old_root_again, Reason.METADATA_ROLLBACK),
]


@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_attack_is_refused_and_honest_metadata_taken_again(
    repository: Repository, device: Device, attack: Callable[[Repository], None], reason: Reason
) -> None:
    digest = repository.add(b"model")
    repository.publish()
    if attack is not altered_snapshot:
        assert device.length(digest) == 5
    honest, keys = repository.saved(), dict(repository.keys)
    keys_before = device.metadata.state_keys
    attack(repository)
    assert device.refused() is reason
    assert device.metadata.state_keys == keys_before
    repository.files, repository.keys = honest, keys
    repository.now["root"] = roles.read(repository.root_1)
    repository.change("targets")
    repository.publish()
    device.again()
    assert device.length(digest) == 5


def test_rollback_to_an_older_state(repository: Repository, device: Device) -> None:
    old = repository.saved()
    digest = repository.add(b"newer")
    repository.publish()
    assert device.length(digest) == 5
    repository.files = old
    device.again()
    assert device.refused() is Reason.METADATA_ROLLBACK


def test_rollback_of_one_role_by_the_online_keys(repository: Repository, device: Device) -> None:
    """Who has stolen the snapshot's and the timestamp's key cannot bring back an older version of what others signed."""
    repository.change("models-3")
    repository.publish()
    device.refresh()
    repository.now["models-3"] = roles.read(repository.files["1.models-3.json"])
    repository.publish()
    assert device.refused() is Reason.METADATA_ROLLBACK


def test_freeze_ends_with_the_timestamp_and_the_reason_is_told(
    repository: Repository, device: Device
) -> None:
    digest = repository.add(b"model")
    repository.publish()
    assert device.length(digest) == 5
    device.clock.now_wall += 29 * DAY_S
    assert device.length(digest) == 5
    device.clock.now_wall += 2 * DAY_S
    assert device.refused() is Reason.METADATA_EXPIRED
    assert device.metadata.state_keys, "what runs goes on, and its keys are known"
    repository.now_wall = device.clock.now_wall
    repository.publish()
    assert device.length(digest) == 5


@pytest.mark.parametrize("wrong_wall", [0.0, 4e9])
def test_a_clock_that_is_not_synchronised_is_not_judged_by(device: Device, wrong_wall: float) -> None:
    device.clock.is_synced, device.clock.now_wall = False, wrong_wall
    device.refresh()
    assert device.metadata.state_keys


def test_a_clock_that_was_set_back_does_not_make_old_metadata_good(
    repository: Repository, device: Device
) -> None:
    device.clock.now_wall += 29 * DAY_S
    device.refresh()
    device.again()
    device.clock.is_synced, device.clock.now_wall = False, 0.0
    device.refresh()
    repository.now_wall -= 2 * DAY_S
    repository.stamp()
    assert device.refused() is Reason.METADATA_EXPIRED, "it ended before a time that was known for sure"


def test_fast_forward_is_recovered_from_by_other_keys(repository: Repository, device: Device) -> None:
    digest = repository.add(b"model")
    repository.publish()
    assert device.length(digest) == 5
    repository.now["snapshot"].signed.version = 2**31
    repository.publish()
    repository.stamp(2**31)
    device.refresh()
    for role in ("snapshot", "timestamp"):
        repository.now[role].signed.version = 10
    repository.stamp(11)
    assert device.refused() is Reason.METADATA_ROLLBACK
    repository.rotate("snapshot", "timestamp")
    device.again()
    assert device.length(digest) == 5


@pytest.mark.parametrize("stolen", ["root", "targets", "models"])
def test_fewer_keys_than_the_threshold_are_of_no_use(tmp_path: Path, stolen: str) -> None:
    repository = Repository(thresholds=dict.fromkeys(("root", "targets", "models"), (3, 2)))
    device = Device(tmp_path / "device", repository)
    device.refresh()
    role = "models-7" if stolen == "models" else stolen
    evil = "sha256:7" + "0" * 63
    path = target_path("model", evil)
    how = {
        "root": lambda root: roles.set_keys(root, ["targets"], roles.KeySet((new_key().public_key,))),
        "targets": lambda targets: roles.set_keys(targets, ["state"], roles.KeySet((new_key().public_key,))),
        "models": lambda signed: signed.targets.update({path: roles.target(evil, 1, path, {})}),
    }[stolen]
    repository.change(role, how)
    repository.sign(role, repository.keys[stolen][:1])
    repository.publish()
    with pytest.raises(MetadataRefused) as caught:
        device.length(evil)
    assert caught.value.reason is Reason.METADATA_INVALID
    repository.sign(role, repository.keys[stolen][:2])
    repository.publish()
    if stolen == "models":
        assert device.length(evil) == 1, "two of three are enough: the test can fail"


def test_every_key_can_be_rotated_and_the_old_one_is_worth_nothing(
    repository: Repository, device: Device
) -> None:
    digest = repository.add(b"model")
    repository.publish()
    device.refresh()
    (old,) = device.metadata.state_keys
    for name in ("root", "targets", "snapshot", "timestamp", "models", "state"):
        stolen = repository.keys[name]
        repository.rotate(name)
        assert device.length(digest) == 5, name
        if name in ("snapshot", "timestamp"):
            honest = repository.saved()
            repository.now["timestamp"].signed.version += 1
            repository.sign("timestamp", stolen)
            repository.files["timestamp.json"] = roles.write(repository.now["timestamp"])
            if name == "timestamp":
                assert device.refused() is Reason.METADATA_INVALID
            repository.files = honest
    (new,) = device.metadata.state_keys
    public = bytes.fromhex(repository.keys["state"][0].public_key.keyval["public"])
    assert new == dsse.key_id(public) != old
    assert device.metadata.state_keys[new] == public


def test_a_device_that_was_away_walks_through_every_root(repository: Repository, device: Device) -> None:
    for _ in range(20):
        repository.rotate("root")
    digest = repository.add(b"model")
    repository.publish()
    assert device.length(digest) == 5
    assert [name for name in repository.asked if "root" in name] == [f"{n}.root.json" for n in range(2, 23)]


def test_a_lost_root_is_made_up_from_the_pinned_one_and_a_pinned_one_that_is_none_is_told(
    repository: Repository, device: Device
) -> None:
    repository.rotate("root")
    device.refresh()
    (device.folder / "tuf/root.json").write_bytes(b"")
    device.again()
    device.refresh()
    (device.folder / "tuf/root.json").unlink()
    device.pinned = b"{}"
    device.again()
    with pytest.raises(ConfigRefused, match="enrol"):
        device.refresh()
    with pytest.raises(MetadataRefused):
        check_root(repository.root_1.replace(b'"version":1', b'"version":2'))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_server_sends_is_refused_with_a_reason(tmp_path: Path, data: st.DataObject) -> None:
    repository = Repository()
    device = Device(tmp_path / "device", repository)
    name = data.draw(st.sampled_from(["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"]))
    genuine = repository.files.get(name, b"")
    at = data.draw(st.integers(0, max(0, len(genuine) - 1)))
    repository.files[name] = data.draw(
        st.one_of(
            st.binary(max_size=64), st.just(genuine[:at] + b"\xff" + genuine[at + 1 :]), st.just(genuine[:at])
        )
    )
    for kept in (device.folder / "tuf").glob("*.json"):
        kept.unlink()
    device.again()
    reason = "metadata-none"
    try:
        device.refresh()
    except AgentError as e:
        reason = e.reason.value
    assert reason.startswith("metadata-")
