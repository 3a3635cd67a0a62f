"""The agent's own release in a revision: judged before its wheels are fetched, installed into the free slot, nothing left of a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.download import Progress
from agent.errors import AgentError, ArtifactRefused, UpdateRefused
from agent.store import Store
from agent.update.installed import Installed
from agent.update.journal import Journal
from agent.update.releases import Releases
from agent.update.slots import Slots
from wire.desired import Desired, Release
from wire.errors import Refused
from wire.manifest import FileEntry, Manifest, digest_of
from wire.reasons import Reason
from wire.release import ReleaseCard
from wire.targets import Kind

WHEEL = b"wheel" * 100
CARD = {"version": "0.3.0", "python": "3.11", "platform": "linux-x86_64", "base": {"numpy": "2.1"}}
HERE = Installed(
    Path("/base/python"), (), {"numpy": "2.1", "outrider": "0.1.0"}, {}, False, "3.11", "linux-x86_64", "2.31"
)


def manifest(size: int = len(WHEEL), **changes: Any) -> Manifest:
    card = ReleaseCard.model_validate({**CARD, **changes})
    return Manifest(
        kind="release", release=card, files=(FileEntry(path="a.whl", sha256=digest_of(WHEEL), size=size),)
    )


class Shelf:
    """What can be fetched; counts what was."""

    def __init__(self, *manifests: Manifest) -> None:
        self.objects = {m.digest: m.encode() for m in manifests} | {digest_of(WHEEL): WHEEL}
        self.fetched: list[str] = []

    async def vouched(self, kind: Kind, digest: str) -> int | None:
        assert kind == "release"
        if digest not in self.objects:
            raise ArtifactRefused(Reason.TARGET_UNKNOWN, "nobody vouches")
        return len(self.objects[digest])

    async def fetch(
        self,
        digest: str,
        target: Path,
        *,
        max_bytes: int,
        exact: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.fetched.append(digest)
        target.write_bytes(self.objects[digest])


class Place:
    """A device whose agent is 0.2.0, installed with the system, or what `install` makes of a slot."""

    def __init__(self, path: Path) -> None:
        self.slots = Slots(path)
        self.journal = Journal(path)
        self.store = Store(path)
        self.failure: BaseException | None = None
        self.installed: list[str] = []
        self.releases = Releases(self.slots, self.journal, self.store, self._install, self._look, "0.2.0")

    async def _look(self) -> Installed:
        return HERE

    async def _install(self, wheels: Path, slot: Path, card: ReleaseCard, _installed: Installed) -> None:
        (slot / "half").write_text("")
        if self.failure is not None:
            raise self.failure
        self.installed.append(card.version)
        assert (wheels / "a.whl").read_bytes() == WHEEL

    def refusal(self, wanted: Release, shelf: Shelf) -> Reason | None:
        found = asyncio.run(self.releases.admit(wanted, shelf))
        return found.reason if found else None

    def prepare(self, wanted: Release, shelf: Shelf) -> None:
        async def work() -> None:
            assert wanted.digest is not None
            await self.store.fetch_model(wanted.digest, shelf, kind="release")
            await self.releases.prepare(wanted, shelf)

        asyncio.run(work())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.journal.close()


@pytest.mark.parametrize(
    ("changes", "allow", "reason"),
    [
        ({}, False, None),
        ({"python": "3.12"}, False, Reason.RELEASE_UNFIT),
        ({"version": "0.1.0"}, False, Reason.RELEASE_OLDER),
        ({"version": "0.1.0"}, True, None),
        ({"size": 2**60}, False, Reason.DISK_FULL),
    ],
)
def test_what_does_not_fit_is_refused_before_its_wheels_are_fetched(
    place: Place, changes: dict[str, Any], allow: bool, reason: Reason | None
) -> None:
    made = manifest(**changes)
    shelf = Shelf(made)
    assert place.refusal(Release(digest=made.digest, allow_downgrade=allow), shelf) is reason
    assert shelf.fetched == [made.digest]


def test_a_manifest_that_cannot_be_had_is_left_to_the_fetching(place: Place) -> None:
    assert place.refusal(Release(digest=manifest().digest), Shelf()) is None


def test_the_installed_agent_is_older_too(place: Place) -> None:
    place.slots.finish(slot := place.slots.begin(), "sha256:x")
    place.slots.change(slot, 1, 0)
    assert place.refusal(Release(installed=True), Shelf()) is Reason.RELEASE_OLDER
    assert place.refusal(Release(installed=True, allow_downgrade=True), Shelf()) is None


def test_a_good_release_is_whole_in_the_free_slot_and_starts_on_trial(place: Place) -> None:
    made = manifest()
    place.prepare(Release(digest=made.digest), Shelf(made))
    assert (place.installed, place.slots.holding(made.digest)) == (["0.3.0"], "a")
    document = Desired.model_validate(
        {"device": "d", "revision": 2, "issued_at": 1.0, "agent": {"digest": made.digest}}
    )
    assert place.releases.change(document, None)
    assert place.releases.on_trial(2)
    place.prepare(Release(digest=made.digest), Shelf(made))
    assert place.installed == ["0.3.0"], "not once more"


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "no room"),
        UpdateRefused(Reason.RELEASE_FAILED, "no"),
        asyncio.CancelledError(),
        KeyError("x"),
    ],
    ids=["disk", "refused", "cancelled", "bug"],
)
def test_a_failure_leaves_nothing_in_the_slot(place: Place, failure: BaseException) -> None:
    made = manifest()
    place.failure = failure
    with pytest.raises((AgentError, asyncio.CancelledError, KeyError)):
        place.prepare(Release(digest=made.digest), Shelf(made))
    assert not place.slots.path("a").exists()
    assert place.slots.holding(made.digest) == ""


def test_a_release_is_named_in_one_way() -> None:
    for body in ({}, {"digest": "sha256:" + "1" * 64, "installed": True}):
        with pytest.raises(ValueError, match="either a digest"):
            Release.model_validate(body)
    document = {"device": "d", "revision": 1, "issued_at": 1.0, "agent": {"installed": True}}
    assert Desired.model_validate(document).digests == frozenset()
    with pytest.raises((Refused, ValueError)):
        ReleaseCard.model_validate(json.loads('{"version": "1", "python": "2.7", "platform": "win32"}'))
