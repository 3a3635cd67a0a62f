"""Kills of each part while the agent runs: the rest goes on, the part comes back, no acknowledged event is lost or doubled."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.child import rss_bytes
from agent.config import Limits
from tests.fakes.agent_rig import BASE, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM
from tests.fakes.observer import Observer
from wire import command

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        made.start()
        model = made.plane.add_model({"model.toml": b"a"})
        workflow = made.plane.add_workflow({})
        made.push(1, **made.one_camera(model, workflow, {"events_a_tick": 3}))
        made.observer.reported("COMMITTED", 1)
        yield made


IN_FLIGHT = Limits().in_flight


def runs_of(observer: Observer) -> dict[str, list[int]]:
    """Event numbers by the run of the pipeline process that made them, repeats by id taken out."""
    seen: set[str] = set()
    runs: dict[str, list[int]] = {}
    with observer._arrived:
        events = [body for topic, body in observer.messages if "/event/" in topic]
    for body in events:
        if body["id"] not in seen:
            seen.add(body["id"])
            runs.setdefault(body["id"].split("-")[0], []).append(body["data"]["n"])
    return runs


def gapless(numbers: list[int]) -> bool:
    return sorted(numbers) == list(range(1, len(numbers) + 1))


def camera(made: Rig) -> dict[str, Any]:
    return dict(made.status()["health"]["cameras"]["door"])


def test_a_killed_pipeline_is_back_and_its_blind_time_is_told(made: Rig) -> None:
    until(lambda: camera(made)["results"] > 3)
    (pid,) = made.children("runtime.pipeline")
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: camera(made)["blind_s"].get("pipeline-down", 0) > 0)
    assert camera(made)["restarts"] == 1
    assert made.children("runtime.pipeline") != [pid]


def test_a_silent_pipeline_is_killed_and_started_again(made: Rig) -> None:
    (pid,) = made.children("runtime.pipeline")
    hang = next(made.run_dir.glob("p*")) / "hang"
    hang.touch()
    until(lambda: pid not in made.children("runtime.pipeline"))
    hang.unlink()
    assert until(lambda: camera(made)["blind_s"].get("pipeline-hung", 0) > 1)


def test_a_killed_engine_comes_back_at_the_same_socket(made: Rig) -> None:
    (pid,) = made.children("runtime.model.process")
    sockets = sorted(made.run_dir.glob("e-*"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: made.status()["health"]["models"]["m"]["restarts"] == 1)
    until(lambda: made.status()["health"]["models"]["m"]["state"] == "ok")
    assert sorted(made.run_dir.glob("e-*")) == sockets


def test_events_survive_a_killed_broker(made: Rig) -> None:
    made.observer.wait(lambda: len(made.observer.of("event")) > 5)
    made.broker.kill()
    until(lambda: made.status()["health"]["outbox"]["rows"] > 30)
    made.broker.start()
    count = sum(map(len, runs_of(made.observer).values()))
    made.observer.wait(lambda: sum(map(len, runs_of(made.observer).values())) > count + 30)
    until(lambda: made.status()["health"]["outbox"]["rows"] < 20)
    (numbers,) = runs_of(made.observer).values()
    # Without numbers still on their way at the end of the list.
    assert gapless(sorted(numbers)[:-20])


def test_events_wait_until_somebody_listens(made: Rig) -> None:
    """With no subscriber a PUBACK of MQTT 5 says so, and the row stays."""
    made.observer.wait(lambda: len(made.observer.of("event")) > 3)
    made.observer.stop()
    until(lambda: made.status()["health"]["outbox"]["rows"] > 40)
    late = Observer(made.broker.port)
    late.start()
    try:
        late.wait(lambda: len(late.of("event")) > 40)
        (first,), (second,) = ([sorted(runs) for runs in runs_of(o).values()] for o in (made.observer, late))
        assert gapless([n - second[0] + 1 for n in second[:-20]])
        # What the broker had handed to a reader that was just leaving went with that reader.
        assert second[0] <= first[-1] + 1 + IN_FLIGHT
    finally:
        late.stop()


def test_after_a_kill_of_the_agent_cameras_are_back_and_no_kept_event_is_lost(made: Rig) -> None:
    made.observer.wait(lambda: len(made.observer.of("event")) > 10)
    children = made.children("child.py")
    made.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 5)
    made.observer.wait(lambda: made.observer.of("conn")[-1]["state"] == "offline")
    before = sum(map(len, runs_of(made.observer).values()))
    made.start()
    blind = until(lambda: camera(made)["blind_s"].get("agent-down", 0))
    assert 0 < blind < 30
    made.observer.wait(lambda: len(runs_of(made.observer)) == 2)
    until(lambda: sum(map(len, runs_of(made.observer).values())) > before + 20)
    for numbers in runs_of(made.observer).values():
        assert gapless(sorted(numbers)[:-20])


def test_without_broker_and_control_plane_the_current_state_runs_at_once(made: Rig) -> None:
    told = made.status()["reported"]["update"]
    assert told["phases"]
    assert made.stop() == 0
    made.broker.kill()
    made.plane.status = 503
    made.start()
    assert until(lambda: camera(made)["results"] > 3 and not made.status()["connected"])
    assert made.status()["reported"]["revision"] == 1
    assert made.status()["reported"]["update"] == told
    assert (
        0
        < camera(made)["blind_s"]["agent-down"]
        == pytest.approx(camera(made)["blind_hour_s"]["agent-down"], abs=0.5)
    )


def test_an_update_cut_by_a_kill_is_taken_up_again(made: Rig) -> None:
    model = made.plane.add_model({"model.toml": b"later", "fake.json": b'{"load_s": 1.5}'})
    made.push(2, **made.one_camera(model, made.plane.add_workflow({})))
    made.observer.reported("PREPARE", 2)
    made.kill()
    made.start()
    assert made.observer.reported("COMMITTED", 2)["revision"] == 2


def test_commands_are_answered_once_and_only_when_signed(made: Rig) -> None:
    def ask(name: str, rid: str, expires_at: float = 4e9, **arguments: Any) -> None:
        request = command.Command(
            device="d1", name=name, rid=rid, issued_at=1.0, expires_at=expires_at, arguments=arguments
        )
        data = command.sign(request, made.plane.key)
        if rid == "forged":
            data["signatures"][0]["sig"] = data["signatures"][0]["sig"][::-1].replace("=", "") + "=="
        made.observer.publish(f"{BASE}/cmd/{name}", data, retain=False)

    def answers() -> dict[str, Any]:
        return {data["rid"]: data for data in made.observer.of("rsp")}

    (pid,) = made.children("runtime.pipeline")
    ask("ping", "r1")
    ask("ping", "r1")
    ask("ping", "forged")
    ask("ping", "old", expires_at=2.0)
    ask("restrat-camera", "r2")
    ask("restart-camera", "r3", camera="gate")
    ask("restart-camera", "r4", camera="door")
    made.observer.wait(lambda: "r4" in answers())
    found = answers()
    assert found["r1"]["ok"]
    assert found["r2"]["reason"] == "unknown-command"
    assert "restart-camera" in found["r2"]["message"]
    assert found["r3"]["reason"] == "unknown-reference"
    assert found["r4"]["ok"]
    assert set(found) == {"r1", "r2", "r3", "r4"}
    assert [data["rid"] for data in made.observer.of("rsp")].count("r1") == 1
    until(lambda: pid not in made.children("runtime.pipeline"))


def test_the_local_interface_shows_status_and_pictures(made: Rig) -> None:
    until(lambda: made.status()["connected"])
    assert made.get("/healthz").json() == {"ok": True}
    assert "<title>Outrider</title>" in made.get("/").text
    assert made.get("/cameras").json()["door"]["summary"] == {"count": 1}
    assert until(lambda: made.get("/cameras/door/snapshot.jpg").content == b"\xff\xd8fake\xff\xd9")
    assert made.get("/cameras/gate/snapshot.jpg").status_code == 404
    assert 10e6 < rss_bytes(made.pid) <= 80 * 1024 * 1024


def test_a_goodbye_says_offline_and_leaves_no_child(made: Rig) -> None:
    children = made.children("child.py")
    assert len(children) == 2
    assert made.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    made.observer.wait(lambda: made.observer.of("conn")[-1]["state"] == "offline")


def test_a_state_that_the_disk_did_not_take_is_applied_once_it_does(made: Rig) -> None:
    revisions, aside = made.state_dir / "revisions", made.state_dir / "aside"
    revisions.rename(aside)
    revisions.write_bytes(b"")
    made.push(2, **made.one_camera(made.plane.add_model({"model.toml": b"b"}), made.plane.add_workflow({})))
    made.observer.wait(
        lambda: [data for data in made.observer.of("reported") if data["reason"] == "disk-full"]
    )
    revisions.unlink()
    aside.rename(revisions)
    assert made.observer.reported("COMMITTED", 2)["revision"] == 2
