"""Updates through a real broker, with child processes that speak the local wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fakes.agent_rig import BASE, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM
from wire import desired
from wire.desired import Desired

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        made.start()
        yield made


def good(made: Rig, tag: bytes = b"a") -> tuple[str, str]:
    return made.plane.add_model({"model.toml": tag}), made.plane.add_workflow({"tag": tag.decode()})


def test_a_pushed_state_runs_and_every_phase_is_reported(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    reported = made.observer.reported("COMMITTED", 1)
    phases = [data["phase"] for data in made.observer.of("reported") if data["offered"] == 1]
    for phase in ("OFFERED", "VERIFIED", "FETCHING", "STAGED", "PREPARE", "SWAPPING", "COMMITTED"):
        assert phase in phases
    assert reported["revision"] == 1
    assert (made.state_dir / "current").resolve().name == "1.json"
    health = made.observer.wait(lambda: [h for h in made.observer.of("health") if h["cameras"]])[-1]
    assert health["models"]["m"]["state"] == "ok"
    assert [data["state"] for data in made.observer.of("conn")][-1] == "online"


def test_a_new_model_is_swapped_in_and_the_old_engine_goes(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 1)
    before = made.children("runtime.model.process"), made.children("runtime.pipeline")
    other = made.plane.add_model({"model.toml": b"other"})
    made.push(2, **made.one_camera(other, workflow))
    reported = made.observer.reported("COMMITTED", 2)
    assert reported["swaps"][0]["frames_lost"] == 0
    assert until(lambda: len(made.children("runtime.model.process")) == 1)
    assert made.children("runtime.model.process") != before[0]
    assert made.children("runtime.pipeline") == before[1]
    assert until(lambda: made.status()["health"]["cameras"]["door"]["models"] == {"any/1": other})


def test_a_refused_engine_leaves_the_old_state_serving(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 1)
    pids = made.children("child.py")
    bad = made.plane.add_model({"model.toml": b"x", "fake.json": b'{"refuse": "golden-mismatch"}'})
    made.push(2, **made.one_camera(bad, workflow))
    reported = made.observer.reported("REJECTED", 2)
    assert (reported["revision"], reported["reason"]) == (1, "golden-mismatch")
    assert reported["problems"][0]["reason"] == "golden-mismatch"
    assert until(lambda: made.children("child.py") == pids)
    assert made.status()["health"]["models"]["m"]["digest"] == model


def test_a_workflow_that_does_not_compile_is_rejected_with_its_problems(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 1)
    bad = made.plane.add_workflow({"fake": {"refuse": "block-unknown"}})
    made.push(2, **made.one_camera(model, bad))
    reported = made.observer.reported("REJECTED", 2)
    assert reported["problems"][0]["path"] == "steps.x"
    assert reported["pipelines"]["p"]["state"] == "ok"


def test_a_candidate_that_hangs_is_given_up_at_the_deadline(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 1)
    slow = made.plane.add_model({"fake.json": b'{"hang": true}'})
    made.push(2, **made.one_camera(slow, workflow, prepare_deadline_s=1.0))
    assert made.observer.reported("REJECTED", 2)["reason"] == "prepare-timeout"
    assert until(lambda: len(made.children("runtime.model.process")) == 1)


def test_pipelines_that_do_not_take_over_are_rolled_back(made: Rig) -> None:
    model, workflow = good(made)
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 1)
    stuck = made.plane.add_workflow({"fake": {"never_switch": True}})
    made.push(2, **made.one_camera(model, stuck))
    reported = made.observer.reported("ROLLED_BACK", 2)
    assert (reported["revision"], reported["reason"]) == (1, "switch-failed")
    assert until(lambda: made.status()["health"]["cameras"]["door"]["workflow"] == workflow)
    assert until(lambda: made.status()["reported"]["pipelines"]["p"]["state"] == "ok")


def test_a_newer_revision_supersedes_one_that_is_not_yet_swapping(made: Rig) -> None:
    model, workflow = good(made)
    slow = made.plane.add_model({"fake.json": b'{"hang": true}'})
    made.push(1, **made.one_camera(slow, workflow))
    made.observer.reported("PREPARE", 1)
    made.push(2, **made.one_camera(model, workflow))
    assert made.observer.reported("COMMITTED", 2)["revision"] == 2
    assert made.observer.reported("REJECTED", 1)["reason"] == "superseded"


def test_documents_that_cannot_be_trusted_are_refused_and_reported(made: Rig) -> None:
    model, workflow = good(made)
    made.push(5, **made.one_camera(model, workflow))
    made.observer.reported("COMMITTED", 5)
    parts = made.one_camera(model, workflow)
    base = {"device": "d1", "issued_at": 1.0, **parts}
    foreign = desired.sign(Desired.model_validate({**base, "device": "d2", "revision": 6}), made.plane.key)
    expired = desired.sign(Desired.model_validate({**base, "revision": 6, "expires_at": 2.0}), made.plane.key)
    unsigned = desired.sign(Desired.model_validate({**base, "revision": 6}), Ed25519PrivateKey.generate())
    replayed = made.document(4, **parts)
    for document, reason in (
        (foreign, "wrong-device"),
        (expired, "expired"),
        (unsigned, "signature-invalid"),
        (replayed, "revision-old"),
        ({"no": "envelope"}, "malformed"),
    ):
        made.observer.publish(f"{BASE}/desired", document, retain=False)
        made.observer.wait(lambda r=reason: [d for d in made.observer.of("reported") if d["reason"] == r])
    assert made.status()["reported"]["revision"] == 5
    assert made.status()["reported"]["offered"] == 5


def test_nonsense_of_a_trusted_key_is_rejected_with_all_problems(made: Rig) -> None:
    parts = {
        "pipelines": {
            "p": {"camera": "nowhere", "workflow": "none", "models": {"a": "gone"}},
        }
    }
    made.push(1, **parts)
    assert len(made.observer.reported("REJECTED", 1)["problems"]) == 3


def test_a_missing_and_a_tampered_artifact_are_rejected_together(made: Rig) -> None:
    workflow = made.plane.add_workflow({})
    made.plane.objects[workflow] = b"tampered"
    made.push(1, **made.one_camera("sha256:" + "0" * 64, workflow))
    problems = made.observer.reported("REJECTED", 1)["problems"]
    assert {problem["reason"] for problem in problems} == {"artifact-corrupt", "artifact-missing"}


def test_the_desired_state_comes_over_https_while_the_broker_is_away(made: Rig) -> None:
    made.observer.wait(lambda: made.observer.of("conn"))
    made.broker.kill()
    model, workflow = good(made)
    made.plane.desired = made.document(3, **made.one_camera(model, workflow))
    assert until(lambda: made.status()["reported"]["revision"] == 3)
    made.broker.start()
    assert made.observer.reported("COMMITTED", 3)
