"""Webhook, chat and e-mail against real servers: what arrives, what is repeated, what a dead server costs."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from fleet import authority
from fleet.clock import SystemClock
from fleet.ports import free_port
from runtime.sinks.desk import Desk
from runtime.sinks.lane import Limits
from runtime.sinks.pictures import Pictures
from runtime.sinks.vault import Vault
from runtime.workflow.blocks import notices
from tests.integration.sink_rig import PICTURE, Requests, executor, outputs, requests, run, tidy, until

__all__ = ["tidy"]

WEBHOOK: dict[str, Any] = {"type": "roboflow_core/webhook_sink@v1", "method": "POST", "cooldown_seconds": 0}


@pytest.fixture
def server() -> Iterator[Requests]:
    with requests() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices.Notice, "limits", Limits(max_waiting=4, retry_min_s=0.02, retry_max_s=0.05))


def test_a_webhook_sends_query_headers_and_json(server: Requests, tmp_path: Path) -> None:
    token = tmp_path / "line-token"
    token.write_text("abc123\n")
    token.chmod(0o600)
    step = {
        **WEBHOOK,
        "url": f"{server.url}/events",
        "query_parameters": {"line": 7},
        "headers": {"Authorization": "Bearer secret:line-token"},
        "json_payload": {"count": "$inputs.value", "place": "dock"},
        "json_payload_operations": {"count": [{"type": "ToString"}]},
        "fire_and_forget": False,
    }
    told = run(step, Desk(vault=Vault([tmp_path])), value=3)
    assert told == {"error_status": False, "throttling_status": False, "message": "Delivered"}
    ((method, path, headers, content),) = server.got
    assert (method, path) == ("POST", "/events?line=7")
    assert headers["Authorization"] == "Bearer abc123"
    assert json.loads(content) == {"count": "3", "place": "dock"}


def test_a_webhook_sends_a_picture_as_a_file(server: Requests) -> None:
    step = {
        **WEBHOOK,
        "url": server.url,
        "multi_part_encoded_files": {"frame": "$inputs.image"},
        "form_data": {"n": 1},
    }
    assert not run({**step, "fire_and_forget": False})["error_status"]
    content = server.got[0][3]
    assert b'filename="frame.jpg"' in content
    assert b"\xff\xd8\xff" in content


def test_no_picture_leaves_where_the_policy_keeps_it(server: Requests) -> None:
    step = {**WEBHOOK, "url": server.url, "multi_part_encoded_files": {"frame": "$inputs.image"}}
    told = run(step, Desk(pictures=Pictures("device")))
    assert told["error_status"]
    assert "privacy policy" in told["message"]
    assert server.got == []


@pytest.mark.usefixtures("quick")
def test_a_server_that_fails_is_asked_again_and_one_that_refuses_is_not(server: Requests) -> None:
    desk = Desk()
    step = {**WEBHOOK, "url": server.url, "fire_and_forget": False}
    server.answers = [(503, b""), (500, b""), (200, b"{}")]
    assert not run(step, desk)["error_status"]
    assert len(server.got) == 3
    server.answers = [(404, b"")]
    told = run(step, desk)
    assert told["error_status"]
    assert told["message"].endswith("answers HTTP 404")
    assert len(server.got) == 4


def test_the_cooldown_holds_back(server: Requests) -> None:
    desk = Desk()
    work = executor({**WEBHOOK, "url": server.url, "cooldown_seconds": 60}, desk)
    told = [outputs(work.run({"image": PICTURE, "value": 1})) for _ in range(3)]
    assert [t["throttling_status"] for t in told] == [False, True, True]
    until(lambda: len(server.got) == 1)
    assert desk.figures()["sink"].throttled == 2


@pytest.mark.usefixtures("quick")
def test_a_dead_server_costs_frames_no_time_and_says_what_it_drops() -> None:
    with socket.socket() as silent:  # accepts connections, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        desk = Desk()
        work = executor({**WEBHOOK, "url": url, "request_timeout": 5}, desk)
        longest_s = 0.0
        for number in range(200):
            started = time.perf_counter()
            told = outputs(work.run({"image": PICTURE, "value": number}))
            longest_s = max(longest_s, time.perf_counter() - started)
            assert not told["error_status"]
        assert longest_s < 2.5, "a frame waited for the server"
        figures = desk.figures()["sink"]
        assert (figures.accepted, figures.waiting, figures.dropped) == (200, 4, 196)
        started = time.perf_counter()
        assert sum(desk.close(0.1).values()) == 4
        assert time.perf_counter() - started < 1.0


def test_slack_gets_its_token_and_its_refusal_is_told(server: Requests) -> None:
    step = {
        "type": "roboflow_core/slack_notification@v1",
        "slack_token": "xoxb-literal-token",
        "channel": "#dock",
        "message": "saw {{ $parameters.n }} of {{ $parameters.nothing }}",
        "message_parameters": {"n": "$inputs.value"},
        "cooldown_session_key": "k",
        "api_url": server.url,
        "fire_and_forget": False,
    }
    server.answers = [(200, b'{"ok": true}')]
    assert not run(step, value=4)["error_status"]
    _, path, headers, content = server.got[0]
    assert path == "/chat.postMessage"
    assert headers["Authorization"] == "Bearer xoxb-literal-token"
    assert json.loads(content) == {"channel": "#dock", "text": "saw 4 of {{ $parameters.nothing }}"}
    server.answers = [(200, b'{"ok": false, "error": "channel_not_found"}')]
    assert "channel_not_found" in run(step, value=4)["message"]


def test_a_chat_webhook_takes_its_url_from_the_devices_secrets(server: Requests, tmp_path: Path) -> None:
    (tmp_path / "chat").write_text(f"{server.url}/services/T0/B0/key")
    (tmp_path / "chat").chmod(0o600)
    step = {
        "type": "outrider/chat_webhook@v1",
        "url": "secret:chat",
        "message": "hello",
        "fire_and_forget": False,
    }
    assert not run(step, Desk(vault=Vault([tmp_path])))["error_status"]
    assert server.got[0][1] == "/services/T0/B0/key"
    told = run(step, Desk(vault=Vault([])))
    assert told["error_status"]
    assert "no secret is called 'chat'" in told["message"]


# --- e-mail -----------------------------------------------------------------------------------------------------------


class Mailbox:
    def __init__(self) -> None:
        self.got: list[tuple[list[str], Message]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.got.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


def email(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "roboflow_core/email_notification@v2",
        "email_provider": "Custom SMTP",
        "subject": "Dock",
        "message": "<b>{{ $parameters.n }}</b> people",
        "message_parameters": {"n": "$inputs.value"},
        "sender_email": "camera@example.org",
        "receiver_email": ["a@example.org"],
        "bcc_receiver_email": "b@example.org",
        "smtp_server": "127.0.0.1",
        "smtp_port": port,
        "attachments": {"frame": "$inputs.image"},
        "fire_and_forget": False,
        **fields,
    }


def test_an_email_arrives_with_its_picture_and_hides_blind_copies(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    assert not run(email(port), value=5)["error_status"]
    ((receivers, message),) = box.got
    assert receivers == ["a@example.org", "b@example.org"]
    assert "b@example.org" not in message.as_string()
    body, picture = message.get_payload()
    assert isinstance(body, Message)
    assert isinstance(picture, Message)
    assert body.get_payload(decode=True).split() == [b"<b>5</b>", b"people"]
    assert picture.get_filename() == "frame.jpg"
    content = picture.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.startswith(b"\xff\xd8\xff")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """A mail server's certificate, by an authority that this process trusts."""
    folder = tmp_path_factory.mktemp("authority")
    authority.create(folder / "authority", folder / "root-key.pem", "lab", SystemClock())
    ours = authority.load(folder / "authority", SystemClock())
    (folder / "server.pem").write_bytes(ours.own("mail", ["127.0.0.1"]))
    (folder / "root.pem").write_text(ours.root_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "root.pem"))
        yield context


def password_known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given == LoginPassword(b"camera@example.org", b"hunter2"), handled=False)


@contextmanager
def secure_mailbox(**settings: Any) -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=password_known, auth_required=True, **settings
    )
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


SEES_NO_TLS = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
"""Where TLS begins with the connection, this server does not know of it."""


@SEES_NO_TLS
@pytest.mark.parametrize("way", ["from the start", "STARTTLS"])
def test_a_password_travels_over_tls_to_a_server_that_is_trusted(trusted: ssl.SSLContext, way: str) -> None:
    settings: dict[str, Any] = {"ssl_context": trusted, "auth_require_tls": False}
    if way == "STARTTLS":
        settings = {"tls_context": trusted, "require_starttls": True}
    with secure_mailbox(**settings) as (box, port):
        assert not run(email(port, sender_email_password="hunter2"), value=5)["error_status"]
        assert [receivers for receivers, _ in box.got] == [["a@example.org", "b@example.org"]]
        told = run(email(port, sender_email_password="wrong"), value=5)
        assert "does not accept the password" in told["message"]
        assert len(box.got) == 1


@SEES_NO_TLS
@pytest.mark.parametrize("way", ["from the start", "STARTTLS"])
def test_no_mail_goes_to_a_server_that_nobody_vouches_for(
    trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    settings: dict[str, Any] = (
        {"ssl_context": trusted} if way == "from the start" else {"tls_context": trusted}
    )
    with secure_mailbox(auth_require_tls=False, **settings) as (box, port):
        desk = Desk()
        told = run(email(port, sender_email_password="hunter2", fire_and_forget=True), desk, value=5)
        assert not told["error_status"]
        until(lambda: desk.figures()["sink"].failing)
        assert "certificate verify failed" in desk.figures()["sink"].error
        assert box.got == []


def test_a_password_does_not_travel_in_the_clear_nor_into_a_message(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    told = run(email(port, sender_email_password="hunter2"), value=5)
    assert told["error_status"]
    assert "offers no TLS" in told["message"]
    assert "hunter2" not in json.dumps(told)
    assert box.got == []
