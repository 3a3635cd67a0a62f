"""Papers carried to an offline key: what a person is told, who may sign what, what comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fleet.config import Config, DataDir
from fleet.db import Database
from fleet.errors import Refused
from fleet.signing import Signer
from fleet.tables import StoredObject, Version
from fleet.tuf.keys import load_key
from fleet.tuf.offline import Papers
from fleet.tuf.rotation import Change
from fleet.tuf.trust import Trust
from tests.unit.fleet.conftest import Founding, StillClock
from wire.command import Command


class Office:
    """A control plane whose keys can be taken away."""

    def __init__(
        self,
        root: Path,
        database: Database,
        clock: StillClock,
        founding: Founding,
        threshold: tuple[int, int] = (1, 1),
    ) -> None:
        self.database = database
        self.data = DataDir(root)
        self.safe = root / "safe"
        self.safe.mkdir()
        self.state = founding.into(database, self.data.trust_keys, self.data.offline, threshold)
        self.signer = Signer(self.state)
        self.trust = Trust(self.data, database, clock, Config().trust_days, self.signer)

    def take_away(self, *names: str) -> None:
        for path in self.trust.keys.paths().values():
            if any(path.name.startswith(f"tuf-{name}-") for name in names):
                shutil.move(path, self.safe / path.name)

    def keys(self, name: str) -> list[Any]:
        return [load_key(path) for path in sorted(self.safe.glob(f"tuf-{name}-*.pem"))]

    def upload(self, number: int) -> None:
        digest = f"sha256:{number:064x}"
        with self.database.write() as session:
            session.add(StoredObject(digest=digest, size_bytes=7, created_at=1.0))
            session.add(
                Version(kind="model", name="yolox", version=number, digest=digest, size_bytes=1,
                        card={"task": "detection", "family": "yolox"}, created_at=1.0, created_by="me")
            )  # fmt: skip
        self.trust.publish()

    def papers(self) -> Papers:
        """As they come out of the file."""
        return Papers(json.loads(json.dumps(self.trust.pending())))


@pytest.fixture
def office(tmp_path: Path, database: Database, clock: StillClock, founding: Founding) -> Office:
    return Office(tmp_path, database, clock, founding)


def test_a_person_is_told_what_changes_and_the_signed_paper_comes_into_force(office: Office) -> None:
    office.upload(1)
    office.take_away("models")
    office.upload(2)
    papers, keys = office.papers(), office.keys("models")
    lines = papers.lines(keys)
    assert lines[0].startswith("models-0, version 3, until ")
    assert lines[1:] == [f"  + models/{2:064x} yolox@2 detection yolox 7 bytes"]
    assert papers.sign(keys) == {"models-0": 0}
    assert office.trust.take_signed(json.loads(json.dumps(papers.document())), "me") == ({"models-0"}, set())
    assert office.trust.status()["waiting"] == []


def test_a_control_plane_that_lies_about_what_is_in_force_is_not_believed(office: Office) -> None:
    office.upload(1)
    office.take_away("models")
    office.upload(2)
    document = office.trust.pending()
    before = document["in_force"]["models-0"]
    before["signed"]["targets"][f"models/{2:064x}"] = document["waiting"]["models-0"]["signed"]["targets"][
        f"models/{2:064x}"
    ]
    lines = Papers(document).lines(office.keys("models"))
    assert "not signed by this key" in lines[1]
    assert sum("yolox@" in line for line in lines) == 2


def test_several_people_sign_one_after_the_other(
    tmp_path: Path, database: Database, clock: StillClock, founding: Founding
) -> None:
    office = Office(tmp_path, database, clock, founding, (3, 2))
    office.take_away("models")
    office.upload(1)
    papers = office.papers()
    first, second, _ = office.keys("models")
    assert papers.sign([first]) == {"models-0": 1}
    with pytest.raises(Refused, match="signature"):
        office.trust.take_signed(papers.document(), "me")
    later = Papers(json.loads(json.dumps(papers.document())))
    assert later.sign([second]) == {"models-0": 0}
    assert office.trust.take_signed(later.document(), "me")[1] == set()


def test_a_new_state_key_waits_for_targets_and_then_signs(office: Office) -> None:
    (before,) = office.signer.public_keys
    office.take_away("targets")
    assert office.trust.rotate(Change("state"), "me") == {"targets"}
    assert not office.trust.new_state_key()
    papers = office.papers()
    assert any(line.strip().startswith("keys of state: ") for line in papers.lines(office.keys("targets")))
    papers.sign(office.keys("targets"))
    office.trust.take_signed(papers.document(), "me")
    assert office.trust.new_state_key()
    assert not office.trust.new_state_key(), "once"
    new, old = office.signer.public_keys
    assert old == before != new


def test_another_replica_signs_with_the_new_key_too(
    office: Office, database: Database, clock: StillClock
) -> None:
    replica = Signer(office.state)
    Trust(office.data, database, clock, Config().trust_days, replica)
    request = Command(device="d", name="ping", rid="r", issued_at=1.0, expires_at=2.0)
    (old,) = office.signer.public_keys
    assert replica.command(request)["signatures"][0]["keyid"] == old
    office.trust.rotate(Change("state"), "me")
    clock.now_wall += 6.0
    new = replica.command(request)["signatures"][0]["keyid"]
    assert new == next(iter(office.signer.public_keys)) != old


def test_a_key_of_another_role_signs_nothing(office: Office) -> None:
    office.take_away("models", "workflows")
    office.upload(1)
    assert office.papers().sign(office.keys("workflows")) == {"models-0": 1}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"kind": "outrider-trust-pending"},
        {"kind": "outrider-trust-pending", "waiting": {"x": 3}},
    ],
)
def test_other_papers_are_refused(office: Office, document: Any) -> None:
    with pytest.raises(Refused):
        Papers(document)


def test_warnings_name_the_keys_that_are_still_here(office: Office, clock: StillClock) -> None:
    assert [w["what"] for w in office.trust.status()["warnings"]] == [
        "root",
        "targets",
        "models",
        "workflows",
        "releases",
    ]
    office.take_away("root", "targets", "models", "workflows", "releases")
    assert office.trust.status()["warnings"] == []
    shown = {role["role"]: [key["online"] for key in role["keys"]] for role in office.trust.status()["roles"]}
    assert (shown["root"], shown["timestamp"], shown["state"]) == ([False], [True], [True])
    clock.now_wall += 340 * 86400.0
    assert "targets" in {w["what"] for w in office.trust.status()["warnings"]}
