"""Rollouts over a real broker to fifty devices, which open what they are sent as the agent does and answer as their model deserves."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import identity
from agent.clock import SystemClock
from agent.trust import Gate
from fleet.client import ApiError, Client
from outrider.cli import main
from tests.integration.fleet_stand import Device, Stand, eventually, package
from wire.doc import read
from wire.enrol import EnrolResponse

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()),
    reason="mosquitto is not installed",
)
DEVICES = 50
WAVES = [
    {"devices": 1, "gates": {"soak_s": 1}},
    {"percent": 10, "gates": {"soak_s": 0.5}},
    {"percent": 50, "gates": {"soak_s": 0.5}},
    {"percent": 100, "gates": {"soak_s": 0}},
]


class Agent(Device):
    """The protocol side of an agent: verifies, remembers the revision, reports; a model called bad is rolled back."""

    def __init__(self, stand: Stand, name: str, bad: set[str]) -> None:
        enrolled = stand.enrol(name)
        super().__init__(enrolled)
        self.gate = Gate(
            identity.from_response(stand.url, read(EnrolResponse, enrolled)), SystemClock(assume_synced=True)
        )
        self.name = name
        self.revision = 0
        self.highest = 0
        self.seen: list[int] = []
        self._bad = bad
        self._lock = threading.Lock()

    def work(self) -> None:
        """Be online, and answer until the end of the connection."""
        self.mqtt.on_message = lambda _client, _data, message: self._desired(message.payload)
        self.subscribe(self.topics.desired)
        self.publish(
            self.topics.conn, {"state": "online", "agent_version": "0.1.0", "boot": "b"}, retain=True
        )

    def _desired(self, payload: bytes) -> None:
        with self._lock:
            desired = self.gate.open_desired(json.loads(payload)["data"], self.highest)
            if desired is None:
                return
            self.highest = desired.revision
            self.seen.append(desired.revision)
            bad = any(model.digest in self._bad for model in desired.models.values())
            if not bad:
                self.revision = desired.revision
            self._say(desired.revision, "ROLLED_BACK" if bad else "COMMITTED")

    def _say(self, offered: int, phase: str) -> None:
        told = {"revision": self.revision, "offered": offered, "phase": phase}
        if phase == "ROLLED_BACK":
            told |= {"reason": "golden-mismatch", "message": "empty-output 0.99, limit 0.50"}
        self._seq += 1
        body = {
            "v": 1,
            "id": f"r-{self._seq}",
            "at": 1.0,
            "boot": "b",
            "seq": self._seq,
            "synced": True,
            "data": told,
        }
        self.mqtt.publish(self.topics.reported, json.dumps(body), 1, retain=True)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("rollouts") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def fleet(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Agent]]:
    """Fifty devices that run version 1 of a model; version 2 is good, version 3 bad."""
    digests = [_upload(stand, weights) for weights in (b"\0" * 100, b"\1" * 100, b"\2" * 100)]
    workflow = tmp_path_factory.mktemp("w") / "watch.json"
    workflow.write_text(json.dumps({"uses": ["any/1"]}))
    with stand.client() as client, ExitStack() as stack:
        client.upload_workflow(workflow)

        def installed(name: str) -> Agent:
            agent = Agent(stand, name, {digests[2]})
            agent.__enter__()
            agent.work()
            client.set_desired(name, _wanted("people@1"))
            return agent

        names = [f"d{number:02}" for number in range(DEVICES)]
        with ThreadPoolExecutor(8) as at_a_time:  # each waits for the broker most of the time
            agents = dict(zip(names, at_a_time.map(installed, names), strict=True))
        for agent in agents.values():
            stack.push(agent.__exit__)
        eventually(lambda: all(agent.revision for agent in agents.values()))
        eventually(lambda: all(row["presence"] == "online" for row in client.devices()))
        yield agents


def _upload(stand: Stand, weights: bytes) -> str:
    answer = httpx.post(
        f"{stand.url}/api/v1/models",
        content=package("people", "ok", weights),
        headers={"Authorization": f"Bearer {stand.admin_token}"},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["digest"])


def _wanted(model: str) -> dict[str, Any]:
    return {
        "cameras": {"door": {"source": "rtsp://10.0.0.1/a"}},
        "models": {"m": {"model": model, "engine": {"threads": 1}}},
        "workflows": {"w": "watch"},
        "pipelines": {"p": {"camera": "door", "workflow": "w", "models": {"any/1": "m"}}},
    }


def _models(client: Client) -> dict[str, str]:
    return {
        row["id"]: client.desired(row["id"])["document"]["models"]["m"]["version"] for row in client.devices()
    }


def test_a_good_change_goes_out_in_four_waves_and_nothing_else_changes(
    stand: Stand, fleet: dict[str, Agent]
) -> None:
    with stand.client() as client:
        plan = {"name": "good", "change": {"models": {"m": "people@2"}}, "waves": WAVES, "first": ["d07"]}
        preview = client.rollouts.preview(plan)
        assert (preview["devices"], preview["waves"]) == (DEVICES, [1, 5, 25, DEVICES])
        assert (preview["first"], preview["problems"]) == (["d07"], [])
        lost = client.rollouts.preview({**plan, "first": ["d99"], "change": {"models": {"m": "people@9"}}})
        assert "d99" in lost["problems"][0]["message"]
        assert client.selection("") == {
            "devices": DEVICES, "online": DEVICES, "names": sorted(fleet)[:20],
        }  # fmt: skip
        client.rollouts.create(plan)
        eventually(lambda: client.rollouts.get("good")["phase"] == "DONE", 120)
        gates = {line["gate"]: line for line in client.rollouts.gates("good")}
        assert gates["success"]["figure"] == f"100.0 % of {DEVICES}"
        assert {line["opinion"] for line in gates.values()} == {"pass"}
        assert client.rollouts.preview(plan)["problems"][0]["path"] == "name"
        assert client.rollouts.get("good")["devices"] == {"done": DEVICES}
        assert set(_models(client).values()) == {"people@2"}
        document = client.desired("d07")["document"]
        assert document["models"]["m"]["engine"]["threads"] == 1
        assert document["cameras"]["door"]["source"] == "rtsp://10.0.0.1/a"
        words = [note["words"] for note in client.rollouts.history("good")]
        assert [text for text in words if "begins" in text] == [
            f"wave {n} has passed; wave {n + 1} of 4 begins" for n in (1, 2, 3)
        ]
    assert {len(agent.seen) for agent in fleet.values()} == {2}


def test_a_bad_model_touches_no_more_than_the_canary_and_comes_back(
    stand: Stand, fleet: dict[str, Agent]
) -> None:
    before = {name: len(agent.seen) for name, agent in fleet.items()}
    with stand.client() as client:
        plan = {
            "name": "bad", "change": {"models": {"m": "people@3"}}, "waves": WAVES, "first": ["d11"], "on_failure": "roll-back",
        }  # fmt: skip
        client.rollouts.create(plan)
        eventually(lambda: client.rollouts.get("bad")["phase"] == "ROLLED_BACK", 60)
        found = client.rollouts.get("bad")
        assert "1 of 1 devices failed (100.0 %), at most 5 % may" in found["judged"]
        assert found["devices"] == {"returned": 1, "waiting": DEVICES - 1}
        assert set(_models(client).values()) == {"people@2"}
    touched = {name for name, agent in fleet.items() if len(agent.seen) > before[name]}
    assert touched == {"d11"}
    assert len(fleet["d11"].seen) == before["d11"] + 2


def test_a_person_pauses_goes_on_and_takes_everything_back(
    stand: Stand, fleet: dict[str, Agent], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)

    def rollout(*arguments: str) -> tuple[int, str]:
        status = main(["fleet", "rollout", *arguments])
        return status, capsys.readouterr().out

    command = (
        "create",
        "step",
        "--model",
        "m=people@1",
        "--waves",
        "2,100%",
        "--soak",
        "600",
        "--first",
        "d01",
        "--first",
        "d02",
    )
    assert rollout(*command)[0] == 0
    with stand.client() as client:
        eventually(lambda: client.rollouts.get("step")["devices"].get("done") == 2)
        assert rollout("pause", "step")[0] == 0
        assert rollout("watch", "step") == (1, rollout("show", "step")[1].splitlines()[0] + "\n")
        assert main(["fleet", "rollout", "approve", "step"]) == 1
        assert "PAUSED cannot be approved" in capsys.readouterr().err
        assert rollout("roll-back", "step")[0] == 0
        eventually(lambda: client.rollouts.get("step")["phase"] == "ROLLED_BACK")
        assert set(_models(client).values()) == {"people@2"}
        status, text = rollout("devices", "step", "--status", "returned")
        assert (status, "d01" in text, "d03" in text) == (0, True, False)
        assert "roll-back: PAUSED → ROLLING_BACK" in rollout("show", "step")[1]
        assert "step" in rollout("list")[1]
        assert rollout("remove", "step")[0] == 0
        with pytest.raises(ApiError, match="no rollout is called 'step'"):
            client.rollouts.get("step")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"change": {"models": {"m": "people@9"}}}, "people"),
        ({"change": {"pipelines": {"p": {"workflow": "none"}}}}, "none"),
        ({"selector": "site=nowhere"}, "no device matches"),
        ({"first": ["d99"]}, "d99"),
        ({"waves": [{"percent": 50}]}, "100 percent"),
        ({"name": "bad"}, "there is a rollout called"),
        ({"gates": 1}, "gates"),
    ],
)
def test_a_rollout_that_could_not_go_well_is_refused_before_anybody_is_told(
    stand: Stand, fleet: dict[str, Agent], change: dict[str, Any], words: str
) -> None:
    with stand.client() as client, pytest.raises(ApiError, match=words):
        client.rollouts.create({"name": "never", "change": {"models": {"m": "people@1"}}, **change})


def test_who_may_not_operate_a_device_may_not_roll_out_to_it(stand: Stand, fleet: dict[str, Agent]) -> None:
    with stand.client() as client:
        token = client.create_api_token("viewer", "viewer")["token"]
        few = client.create_api_token("few", "operator", "site=a")["token"]
    with stand.client(few) as client:
        assert client.rollouts.devices("good") == []
    for secret in (token, few):
        with stand.client(secret) as client, pytest.raises(ApiError, match="this needs operator"):
            client.rollouts.create({"name": "theirs", "change": {"models": {"m": "people@1"}}})
