"""Updates of a device while something fails: cut power, a lost network, a race, a workflow that answers nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.agent_rig import Rig, rig, until
from tests.fakes.mosquitto import PROGRAM

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    """A device with revision 1 committed."""
    with rig(tmp_path) as made:
        made.start()
        push(made, 1, b"one")
        made.observer.reported("COMMITTED", 1, 60.0)
        yield made


def push(
    made: Rig, revision: int, tag: bytes, workflow: dict[str, object] | None = None, **update: object
) -> str:
    model = made.plane.add_model({"model.toml": tag})
    settings = {"probation_s": 0.2, **update}
    made.push(revision, **made.one_camera(model, made.plane.add_workflow(workflow or {}), update=settings))
    return model


def test_power_lost_three_times_in_probation_brings_the_former_revision_back(made: Rig) -> None:
    model = push(made, 2, b"two", probation_s=600.0, probation_deadline_s=3600.0)
    made.observer.reported("PROBATION", 2, 60.0)
    for starts in range(3):
        made.kill()
        made.start()
        wanted = "ROLLED_BACK" if starts == 2 else "PROBATION"
        until(lambda w=wanted: made.status()["reported"]["phase"] == w, 60.0)
    reported = made.observer.reported("ROLLED_BACK", 2, 60.0)
    assert (reported["revision"], reported["reason"]) == (1, "starts-without-commit")
    assert reported["update"]["quarantined"] == [model]
    assert (made.state_dir / "current").resolve().name == "1.json"
    assert until(lambda: made.status()["reported"]["pipelines"]["p"]["state"] == "ok", 60.0)


def test_an_update_comes_to_its_end_without_broker_and_control_plane(made: Rig) -> None:
    push(made, 2, b"two", probation_s=3.0)
    made.observer.reported("PREPARE", 2, 60.0)
    made.broker.kill()
    made.plane.status = 503
    until(lambda: made.status()["reported"]["phase"] == "COMMITTED", 60.0)
    assert made.status()["reported"]["revision"] == 2
    made.broker.start()
    assert made.observer.reported("COMMITTED", 2, 60.0)["revision"] == 2


def test_a_workflow_without_answers_is_taken_back_without_a_network_and_told_afterwards(made: Rig) -> None:
    push(made, 2, b"one", {"fake": {"blind": True}}, probation_s=60.0)
    made.observer.reported("PREPARE", 2, 60.0)
    made.broker.kill()
    until(lambda: made.status()["reported"]["phase"] == "ROLLED_BACK", 60.0)
    assert made.status()["reported"]["revision"] == 1
    made.broker.start()
    reported = made.observer.reported("ROLLED_BACK", 2, 60.0)
    assert reported["update"]["phases"]["probation"]["gate"]
    assert reported["message"]


def test_two_updates_that_race_end_with_the_newer_one_running(made: Rig) -> None:
    push(made, 2, b"two")
    push(made, 3, b"three")
    assert made.observer.reported("COMMITTED", 3, 60.0)["revision"] == 3
    ends = {d["phase"] for d in made.observer.of("reported") if d["offered"] == 2}
    assert ends & {"REJECTED", "COMMITTED"}
    assert until(lambda: len(made.children("runtime.model.process")) == 1, 60.0)


def test_a_downgrade_is_a_new_revision_like_any_other(made: Rig) -> None:
    push(made, 2, b"two")
    made.observer.reported("COMMITTED", 2, 60.0)
    requests = len(made.plane.requests)
    push(made, 3, b"one")
    assert made.observer.reported("COMMITTED", 3, 60.0)["revision"] == 3
    assert len(made.plane.requests) == requests, "the former model was still there"


def test_a_download_that_is_cut_by_a_kill_goes_on_by_range(made: Rig) -> None:
    made.plane.cut_after_bytes = 60_000
    model = made.plane.add_model({"model.toml": b"big", "weights.onnx": bytes(400_000)})
    parts = made.one_camera(model, made.plane.add_workflow({}), update={"probation_s": 0.2})
    made.push(2, **parts)
    until(lambda: any(asked for _, asked in made.plane.requests), 60.0)
    made.kill()
    made.start()
    assert made.observer.reported("COMMITTED", 2, 90.0)["revision"] == 2
