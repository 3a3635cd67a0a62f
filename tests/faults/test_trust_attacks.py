"""Attacks on artifacts, with a real control plane, mosquitto with mTLS and a real agent; and the work with offline keys by the commands.

The attacker owns the database, the object store and the broker, and has stolen one online key or another. What he does is refused with
its reason, and the device goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fleet.client import ApiError
from fleet.tuf import roles
from fleet.tuf.keys import load_key
from outrider.demo.stage import Stage
from tests.fakes.dripping_relay import DrippingRelay
from tests.fakes.updates import AT_ONCE
from tests.faults.test_attacks import PLAIN, WORKFLOW, Operator, signed, state_key, still_works
from wire.manifest import digest_of
from wire.targets import role_of, target_path

pytestmark = pytest.mark.timeout(240)


class Attacked(Stage):
    """A stage whose store and keys the attacker has in his hands."""

    count = 0
    relay: DrippingRelay

    def enrol(self) -> None:
        """By way of a relay that can drip; what is slower than 100 kB/s for 2 s is left."""
        own = urlsplit(self.plane["url"])
        self.relay = DrippingRelay(own.hostname or "", own.port or 0)
        honest, self.plane["url"] = self.plane["url"], f"https://{own.hostname}:{self.relay.port}"
        super().enrol()
        self.plane["url"] = honest
        with self.config.open("a") as file:
            file.write("\n[limits]\nfetch_slow_s = 2.0\nfetch_min_bytes_s = 100000\n")

    def stop(self) -> None:
        super().stop()
        self.relay.close()

    @property
    def data(self) -> Path:
        return self.root / "plane"

    @property
    def seen_timestamp(self) -> int:
        """The version of the timestamp that the device believes."""
        return roles.version_of((self.root / "agent/tuf/timestamp.json").read_bytes())

    def fresh_workflow(self, more_bytes: int = 0) -> dict[str, Any]:
        """Upload a workflow that no device has; the version, as the control plane answers."""
        self.count += 1
        path = self.root / f"w{self.count}.json"
        about = f"number {self.count} {time.monotonic_ns()}{'.' * more_bytes}"
        path.write_text(json.dumps({**WORKFLOW, "about": about}))
        return self.api.upload_workflow(path, name="nothing")

    def wants(self, digest: str) -> dict[str, Any]:
        """What comes of it when the device is told to have it."""
        return self.await_outcome(self.push({"workflows": {"w": digest}, "settings": {"update": AT_ONCE}}))

    def rows(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.data / "fleet.db", timeout=20.0)) as database, database:
            return database.execute(statement, values).fetchall()

    def command(self, *arguments: str) -> str:
        """`outrider fleet …` as a person runs it; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "outrider", "fleet", *arguments],
            text=True,
            capture_output=True,
            timeout=60,
            env={
                **os.environ,
                "OUTRIDER_FLEET_URL": self.plane["url"],
                "OUTRIDER_FLEET_TOKEN": (self.data / "admin-token").read_text().strip(),
                "OUTRIDER_FLEET_AUTHORITY": self.plane["authority"],
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def stage(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    stage = Attacked(tmp_path_factory.mktemp("trust") / "stage")
    try:
        stage.start_plane()
        stage.enrol()
        stage.start_agent()
        assert stage.wants(stage.fresh_workflow()["digest"])["phase"] == "COMMITTED"
        assert (stage.root / "agent/tuf/timestamp.json").exists(), "the device believes trust metadata"
        yield stage
    finally:
        stage.stop()
        for log in sorted(stage.logs.iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


def test_a_stolen_state_key_brings_no_software_of_its_own(stage: Attacked) -> None:
    """The attacker signs a desired state, has put his workflow into the store, and lets the device fetch it."""
    evil = json.dumps({**WORKFLOW, "about": "evil"}).encode()
    digest = digest_of(evil)
    path = stage.data / "objects" / "sha256" / digest[7:9] / digest[7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(evil)
    stage.rows("INSERT INTO objects VALUES (?, ?, ?)", digest, len(evil), 1.0)
    running = stage.reported()["revision"]
    revision = stage.push({}) + 1
    document = signed(state_key(stage), stage.device, revision, workflows={"w": {"digest": digest}})
    columns = "device, revision, document, signed, digests, created_at, created_by, expires_at"
    stage.rows(
        f"INSERT INTO desired ({columns}) VALUES (?, ?, '{{}}', ?, ?, 1.0, 'me', 9e9)",
        stage.device, revision, json.dumps(document), json.dumps([digest]),
    )  # fmt: skip
    operator = Operator(stage)
    operator.send("desired", document)
    outcome = stage.await_outcome(revision)
    operator.close()
    assert (outcome["phase"], outcome["reason"]) == ("REJECTED", "target-unknown")
    assert outcome["revision"] in (running, revision - 1)
    assert not (stage.root / "agent/objects/sha256" / digest[7:]).exists()
    still_works(stage)


def test_other_bytes_in_the_store_are_refused(stage: Attacked) -> None:
    digest = stage.fresh_workflow()["digest"]
    path = stage.data / "objects" / "sha256" / digest[7:9] / digest[7:]
    genuine = path.read_bytes()
    path.write_bytes(genuine[:-2] + b" }")
    outcome = stage.wants(digest)
    assert (outcome["phase"], outcome["reason"]) == ("REJECTED", "artifact-corrupt")
    path.write_bytes(genuine)
    assert stage.wants(digest)["phase"] == "COMMITTED"


def newest(stage: Attacked, role: str) -> tuple[int, str]:
    ((version, content),) = stage.rows(
        "SELECT version, content FROM trust_files WHERE role = ? ORDER BY version DESC LIMIT 1", role
    )
    return version, content


def replaced(stage: Attacked, role: str, version: int, content: str) -> None:
    stage.rows("UPDATE trust_files SET content = ? WHERE role = ? AND version = ?", content, role, version)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("altered", "metadata-invalid"),
        ("rolled back", "metadata-rollback"),
        ("frozen", "metadata-expired"),
        ("mixed", "metadata-mismatch"),
        ("endless", "endless-data"),
    ],
)
def test_metadata_of_a_database_that_was_taken_over_is_refused(
    stage: Attacked, attack: str, reason: str
) -> None:
    assert stage.wants(stage.fresh_workflow()["digest"])["phase"] == "COMMITTED"
    while True:
        digest = stage.fresh_workflow()["digest"]
        saved = stage.rows("SELECT role, version, content, created_at FROM trust_files")
        version, content = newest(stage, "timestamp")
        attack_with(stage, attack, version, content)
        if stage.seen_timestamp < version:
            break  # else the device's own refresh, once at a random time, was first
        put_back(stage, saved)
    before = stage.reported()["revision"]
    outcome = stage.wants(digest)
    assert (outcome["phase"], outcome["reason"], outcome["revision"]) == ("REJECTED", reason, before)
    put_back(stage, saved)
    still_works(stage)
    assert stage.wants(digest)["phase"] == "COMMITTED"


def attack_with(stage: Attacked, attack: str, version: int, content: str) -> None:
    """`version`, `content`: of the newest timestamp."""
    if attack == "altered":
        replaced(stage, "timestamp", version, content.replace('"version":', '"version":1'))
    elif attack == "rolled back":
        stage.rows("DELETE FROM trust_files WHERE role = 'timestamp' AND version > ?", version - 2)
    elif attack == "endless":
        replaced(stage, "timestamp", version, content + " " * 100_000)
    elif attack == "mixed":
        number, _ = newest(stage, "snapshot")
        ((old,),) = stage.rows(
            "SELECT content FROM trust_files WHERE role = 'snapshot' AND version = ?", number - 1
        )
        replaced(stage, "snapshot", number, old)
    else:  # he has stolen the timestamp's key, and nothing else
        (key,) = (stage.data / "keys/tuf").glob("tuf-timestamp-*.pem")
        frozen = roles.read(content.encode())
        frozen.signed.version += 1
        frozen.signed.expires = roles.at(time.time() - 60)
        frozen.sign(load_key(key))
        row = ("timestamp", version + 1, roles.write(frozen).decode(), 1.0)
        stage.rows("INSERT INTO trust_files VALUES (?, ?, ?, ?)", *row)


def put_back(stage: Attacked, saved: list[Any]) -> None:
    stage.rows("DELETE FROM trust_files")
    for row in saved:
        stage.rows("INSERT INTO trust_files VALUES (?, ?, ?, ?)", *row)


def test_store_that_drips_is_told_and_what_it_brings_at_last_is_taken(stage: Attacked) -> None:
    digest = stage.fresh_workflow(400_000)["digest"]
    before = stage.reported()["revision"]
    stage.relay.bytes_s = 20_000.0
    revision = stage.push({"workflows": {"w": digest}, "settings": {"update": AT_ONCE}})
    stage.wait("slow", lambda: stage.reported() if stage.reported()["reason"] == "slow-retrieval" else None)
    assert (stage.reported()["revision"], stage.reported()["offered"]) == (before, revision)
    assert (stage.status() or {})["connected"]
    stage.relay.bytes_s = None
    assert stage.await_outcome(revision)["phase"] == "COMMITTED"
    still_works(stage)


def forged(stage: Attacked, members: dict[str, str], versions: dict[str, int]) -> None:
    """Put a snapshot and a timestamp of these members into the database, signed with the stolen online keys."""
    end_wall = time.time() + 86400
    known = {role: newest(stage, role)[1] for role in roles.SNAPSHOT_MEMBERS} | members
    snapshot = roles.new_snapshot(
        {role: content.encode() for role, content in known.items()}, versions["snapshot"], end_wall
    )
    made = {"snapshot": snapshot}
    for role in ("snapshot", "timestamp"):
        if role == "timestamp":
            made[role] = roles.new_timestamp(roles.write(snapshot), versions[role], end_wall)
        stolen = [load_key(path) for path in (stage.data / "keys/tuf").glob(f"tuf-{role}-*.pem")]
        roles.sign(made[role], stolen)
        row = (role, versions[role], roles.write(made[role]).decode(), 1.0)
        stage.rows("INSERT INTO trust_files VALUES (?, ?, ?, ?)", *row)


def test_fast_forward_by_stolen_online_keys_ends_when_these_are_rotated(stage: Attacked) -> None:
    saved = stage.rows("SELECT role, version, content, created_at FROM trust_files")
    far = 2**31 - 2
    digest = stage.fresh_workflow()["digest"]
    forged(stage, {}, {"snapshot": far, "timestamp": far})
    assert stage.wants(digest)["phase"] == "COMMITTED", "nobody can see anything wrong with it"
    assert stage.seen_timestamp >= far
    put_back(stage, saved)
    honest = stage.fresh_workflow()["digest"]
    before = stage.reported()["revision"]
    outcome = stage.wants(honest)
    assert (outcome["phase"], outcome["reason"]) == ("REJECTED", "metadata-rollback")
    assert outcome["revision"] == before
    still_works(stage)
    for role in ("snapshot", "timestamp"):
        stage.command("keys", "rotate", role)
    assert stage.wants(honest)["phase"] == "COMMITTED"
    still_works(stage)


def test_one_stolen_key_of_two_brings_no_software(stage: Attacked) -> None:
    for _ in range(2):
        stage.command("keys", "make", str(stage.data / "keys/tuf"), "--role", "workflows")
    public = sorted((stage.data / "keys/tuf").glob("tuf-workflows-*.pub"))
    given = [text for path in public for text in ("--public", str(path))]
    stage.command("keys", "rotate", "workflows", *given, "--threshold", "2")
    assert stage.wants(stage.fresh_workflow()["digest"])["phase"] == "COMMITTED"
    evil = json.dumps({**WORKFLOW, "about": "evil, too"}).encode()
    digest = digest_of(evil)
    path = target_path("workflow", digest)
    role = role_of(path)
    saved = stage.rows("SELECT role, version, content, created_at FROM trust_files")
    before = stage.reported()["revision"]
    version, content = newest(stage, role)
    metadata = roles.read(content.encode())
    metadata.signed.version += 1
    metadata.signed.targets[path] = roles.target(digest, len(evil), path, {})
    stolen, _ = [load_key(path.with_suffix(".pem")) for path in public]
    metadata.signatures.clear()
    roles.sign(metadata, [stolen])
    text = roles.write(metadata).decode()
    stage.rows("INSERT INTO trust_files VALUES (?, ?, ?, ?)", role, version + 1, text, 1.0)
    numbers = {role: newest(stage, role)[0] + 1 for role in ("snapshot", "timestamp")}
    forged(stage, {role: text}, numbers)
    revision = stage.api.desired(stage.device)["revision"] + 1
    operator = Operator(stage)
    operator.send(
        "desired", signed(state_key(stage), stage.device, revision, workflows={"w": {"digest": digest}})
    )
    outcome = stage.await_outcome(revision)
    operator.close()
    assert (outcome["phase"], outcome["reason"]) == ("REJECTED", "metadata-invalid")
    assert outcome["revision"] == before
    put_back(stage, saved)
    for online in ("snapshot", "timestamp"):  # the attacker's are ahead of ours
        stage.command("keys", "rotate", online)
    stage.push(PLAIN)
    still_works(stage)
    stage.command("keys", "rotate", "workflows", "--public", str(public[0]), "--threshold", "1")
    for path in (stage.data / "keys/tuf").glob("tuf-workflows-*.pem"):
        if path.stem != public[0].stem:
            path.unlink()
    assert stage.wants(stage.fresh_workflow()["digest"])["phase"] == "COMMITTED"


def test_the_state_key_is_rotated_and_no_device_is_touched(stage: Attacked) -> None:
    old = state_key(stage)
    assert "new keys are in force" in stage.command("keys", "rotate", "state")
    still_works(stage)
    listed = json.loads(stage.command("keys", "list", "--json"))
    new_id, old_id = [key["id"] for role in listed if role["role"] == "state" for key in role["keys"]]
    stage.command("keys", "revoke", old_id[:12])
    assert new_id != old_id
    assert stage.wants(stage.fresh_workflow()["digest"])["phase"] == "COMMITTED", "the device has heard of it"
    operator = Operator(stage)
    revision = stage.reported()["revision"]
    operator.send("desired", signed(old, stage.device, revision + 50))
    stage.wait(
        "the old key's word is refused",
        lambda: stage.reported() if stage.reported()["reason"] == "signature-invalid" else None,
        30.0,
    )
    operator.close()
    still_works(stage)


def test_with_offline_keys_an_upload_waits_until_it_is_signed(stage: Attacked, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    for path in [
        *(stage.data / "offline").glob("tuf-*.pem"),
        *(stage.data / "keys/tuf").glob("tuf-workflows-*.pem"),
    ]:
        shutil.move(path, safe / path.name)
    version = stage.fresh_workflow()
    assert version["signed"] is False
    with pytest.raises(ApiError) as refused:
        stage.push({"workflows": {"w": version["digest"]}})
    assert refused.value.reason.value == "signature-pending"
    papers = tmp_path / "papers.json"
    stage.command("sign", "export", str(papers))
    (key,) = safe.glob("tuf-workflows-*.pem")
    told = stage.command("sign", "add", str(papers), "--key", str(key), "--yes")
    assert version["digest"][7:] in told
    assert "in force: workflows-" in stage.command("sign", "import", str(papers))
    assert stage.wants(version["digest"])["phase"] == "COMMITTED"
    assert "waits for signatures: root" in stage.command("keys", "rotate", "timestamp")
    stage.command("sign", "export", str(papers))
    (root,) = safe.glob("tuf-root-*.pem")
    assert "keys of timestamp" in stage.command("sign", "add", str(papers), "--key", str(root), "--yes")
    assert "in force: root" in stage.command("sign", "import", str(papers))
    assert stage.wants(version["digest"])["phase"] == "COMMITTED"
    still_works(stage)
