"""Back-off, configuration, identity, notifier, files, logs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import config, files, identity, logs
from agent.backoff import Backoff
from agent.commands import Commands
from agent.errors import ConfigRefused, Degraded
from agent.intake import Intake
from agent.keys import FileKeys
from agent.notify import Notifier
from agent.trust import Gate, SignedNonsense
from tests.unit.agent.clocks import ManualClock
from wire import desired, dsse
from wire.desired import Desired
from wire.enrol import Broker, EnrolResponse
from wire.errors import Malformed, NotTrusted
from wire.local import Event
from wire.reasons import Reason


def test_the_back_off_doubles_to_its_limit_with_jitter_below() -> None:
    full = Backoff(1.0, 8.0, lambda: 0.999999)
    assert [round(full.next_s()) for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    full.reset()
    assert round(full.next_s()) == 1
    assert Backoff(1.0, 8.0, lambda: 0.0).next_s() == 0.5


def test_a_configuration_names_every_problem_at_once() -> None:
    with pytest.raises(ConfigRefused) as caught:
        config.parse({"stat_dir": "x", "http_port": "80", "limits": {"silent_s": -1, "silence": 3}})
    assert [problem.path for problem in caught.value.problems] == [
        "stat_dir",
        "http_port",
        "limits.silent_s",
        "limits.silence",
    ]
    assert "state_dir" in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('state_dir = "/a"\nhttp_port = 0\n[limits]\nsilent_s = 3\n')
    loaded = config.load(path, {"OUTRIDER_STATE_DIR": "/b"})
    assert (loaded.state_dir, loaded.http_port, loaded.limits.silent_s) == (Path("/b"), 0, 3.0)


def test_a_run_directory_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(ConfigRefused, match="choose a shorter one"):
        config.Config(run_dir=Path("/" + "x" * 90))


def enrolled(key: Ed25519PrivateKey) -> identity.Identity:
    raw = dsse.public_bytes(key)
    response = EnrolResponse(
        fleet="f",
        device="d1",
        api_token="secret-token",
        broker=Broker(host="h", port=1883, username="u", password="secret-password"),
        state_keys={dsse.key_id(raw): base64.b64encode(raw).decode()},
    )
    return identity.from_response("https://cp/", response)


def test_an_identity_is_read_back_is_private_and_shows_no_secret(tmp_path: Path) -> None:
    made = enrolled(Ed25519PrivateKey.generate())
    identity.save(made, tmp_path)
    assert (tmp_path / "identity.json").stat().st_mode & 0o777 == 0o600
    assert identity.load(tmp_path) == made
    assert "secret-" not in repr(made)
    assert made.url == "https://cp"


def test_a_damaged_identity_says_what_to_do(tmp_path: Path) -> None:
    assert identity.load(tmp_path) is None
    (tmp_path / "identity.json").write_text("{}")
    with pytest.raises(ConfigRefused, match="enrol the device again"):
        identity.load(tmp_path)


def test_the_devices_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    first, second = FileKeys(tmp_path), FileKeys(tmp_path)
    assert first.signing_public() == second.signing_public()
    assert first.sealing_public() == second.sealing_public()
    assert "PRIVATE" not in first.request()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3


def document(revision: int, **parts: object) -> Desired:
    return Desired.model_validate({"device": "d1", "revision": revision, "issued_at": 0.0, **parts})


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.write_atomic(path, b"old")
    with pytest.raises(TypeError):
        files.write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_notifier_speaks_only_where_systemd_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "30000000"})
        notifier.ready("one camera")
        notifier.watchdog()
        assert listener.recv(200) == b"READY=1\nSTATUS=one camera"
        assert listener.recv(200) == b"WATCHDOG=1"
        assert notifier.watchdog_s == 30.0
        notifier.close()
    silent = Notifier({})
    silent.ready("x")
    silent.watchdog()


def test_log_lines_hold_their_fields_and_no_password() -> None:
    record = logging.makeLogRecord(
        {"name": "agent", "msg": "lost", "levelname": "WARNING", "url": "rtsp://u:geheim@h/1"}
    )
    assert logs.Redacted().format(record) == "warning agent: lost url=rtsp://***@h/1"
    assert json.loads(logs.Json().format(record))["url"] == "rtsp://***@h/1"


KEY = Ed25519PrivateKey.generate()


def gate(clock: ManualClock | None = None) -> Gate:
    return Gate(enrolled(KEY), clock or ManualClock())


def test_a_signed_state_is_opened_and_its_repeat_is_nothing() -> None:
    signed = desired.sign(document(3), KEY)
    opened = gate().open_desired(signed, 2)
    assert opened is not None
    assert opened.revision == 3
    assert gate().open_desired(signed, 3) is None


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (desired.sign(document(3), KEY), Reason.REVISION_OLD),
        (desired.sign(document(9), Ed25519PrivateKey.generate()), Reason.SIGNATURE_INVALID),
        (desired.sign(document(9).model_copy(update={"device": "d2"}), KEY), Reason.WRONG_DEVICE),
        (desired.sign(document(9, expires_at=5.0), KEY), Reason.EXPIRED),
    ],
)
def test_what_cannot_be_trusted_is_refused(signed: dict[str, object], reason: Reason) -> None:
    with pytest.raises(NotTrusted) as caught:
        gate().open_desired(signed, 4)
    assert caught.value.reason is reason


def test_expiry_is_not_judged_by_a_clock_that_is_not_synchronised() -> None:
    clock = ManualClock()
    clock.is_synced = False
    assert gate(clock).open_desired(desired.sign(document(9, expires_at=5.0), KEY), 4) is not None


def test_nonsense_of_a_trusted_key_uses_up_its_revision() -> None:
    body = document(9).to_json() | {"pipelines": {"p": {"camera": "x", "workflow": "y"}}}
    signed = dsse.sign(body, desired.PAYLOAD_TYPE, KEY)
    with pytest.raises(SignedNonsense) as caught:
        gate().open_desired(signed, 4)
    assert caught.value.revision == 9
    assert len(caught.value.problems) == 2
    with pytest.raises(Malformed):
        gate().open_desired({"junk": 1}, 4)


def test_events_are_acknowledged_in_order_and_a_failed_commit_is_tried_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        commits: list[asyncio.Future[bool]] = []
        acknowledged: list[int] = []

        def keep(_event: Event) -> asyncio.Future[bool]:
            commits.append(loop.create_future())
            return commits[-1]

        intake = Intake(keep, acknowledged.append, held=True)
        for number in (1, 2, 3):
            intake.take(Event(number, f"e{number}", "c", {}))
        assert commits == []
        intake.release()
        commits[1].set_result(True)
        commits[2].set_result(True)
        commits[0].set_exception(Degraded(Reason.DISK_FULL, "full"))
        await asyncio.sleep(0)
        assert acknowledged == []
        intake.retry()
        assert len(commits) == 4
        commits[3].set_result(True)
        await asyncio.sleep(0)
        assert acknowledged == [3]
        assert len(intake) == 0

    asyncio.run(main())


def test_a_command_that_fails_inside_is_answered_all_the_same() -> None:
    from wire.command import Command, Response

    answers: list[Response] = []

    def fails(_arguments: dict[str, object]) -> dict[str, object]:
        raise ZeroDivisionError

    request = Command(device="d1", name="x", rid="r", issued_at=0.0, expires_at=1.0)
    commands = Commands(lambda _document: request, {"x": fails}, answers.append)
    commands.received("x", {}, None)
    commands.received("x", {}, None)
    assert [(answer.ok, answer.reason) for answer in answers] == [(False, "internal")]


def test_a_command_that_takes_its_time_does_not_hold_up_the_next() -> None:
    from wire.command import Command, Response

    answers: list[Response] = []

    async def main() -> None:
        finish = asyncio.Event()

        async def slow(_arguments: dict[str, object]) -> dict[str, object]:
            await finish.wait()
            return {"done": True}

        requests = iter(
            Command(device="d1", name=name, rid=name, issued_at=0.0, expires_at=1.0)
            for name in ("slow", "quick")
        )
        commands = Commands(
            lambda _document: next(requests), {"slow": slow, "quick": lambda _a: {}}, answers.append
        )
        commands.received("slow", {}, None)
        commands.received("quick", {}, None)
        finish.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await commands.close()

    asyncio.run(main())
    assert [answer.name for answer in answers] == ["quick", "slow"]
    assert answers[1].result == {"done": True}


def test_a_configuration_that_is_written_reads_as_it_was(tmp_path: Path) -> None:
    from dataclasses import replace

    from agent import config

    limits = replace(config.Limits(), store_bytes=5, poll_s=7.0)
    wanted = config.Config(state_dir=tmp_path / "s", run_dir=Path("/run/o"), clock_synced=True, limits=limits)
    config.write(tmp_path / "etc/agent.toml", wanted)
    assert config.load(tmp_path / "etc/agent.toml", {}) == wanted
    config.write(tmp_path / "plain.toml", config.Config())
    assert config.load(tmp_path / "plain.toml", {}) == config.Config()
    assert len((tmp_path / "plain.toml").read_text().splitlines()) == 3
