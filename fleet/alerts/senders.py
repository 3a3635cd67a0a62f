"""Sends one message to one target. Each attempt has a deadline; what went wrong is said without secrets."""

from __future__ import annotations

import asyncio
import json
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiomqtt import Client, MqttError

from fleet.alerts import messages
from fleet.alerts.targets import Email, Mqtt, Secrets, Slack, Webhook
from fleet.clock import Clock
from fleet.errors import FleetError, Transient
from wire import cloudevents
from wire.names import FleetId
from wire.reasons import Reason
from wire.topics import ROOT

DEADLINE_S = 15.0
ERROR_CHARACTERS = 300
Publish = Callable[[str, bytes, bool], Awaitable[None]]
"""Publishes at the fleet's own broker: topic, payload, retained."""


class Senders:
    """`send` raises `FleetError` where the message was not taken."""

    def __init__(
        self,
        fleet: FleetId,
        clock: Clock,
        secrets: Secrets,
        publish: Publish,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._secrets = secrets
        self._publish = publish
        self._transport = transport

    async def send(self, target: Webhook | Slack | Email | Mqtt, event: dict[str, Any]) -> None:
        """:raises Transient: it was not taken; the message says why
        :raises Refused: a secret is missing
        """
        try:
            await asyncio.wait_for(self._send(target, event), DEADLINE_S)
        except asyncio.TimeoutError as e:
            raise _failed(f"no answer within {DEADLINE_S:.0f} s") from e
        except FleetError:
            raise
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            MqttError,
            smtplib.SMTPException,
            OSError,
            ValueError,
        ) as e:
            raise _failed(f"{type(e).__name__}: {e}") from e

    async def _send(self, target: Webhook | Slack | Email | Mqtt, event: dict[str, Any]) -> None:
        if isinstance(target, Webhook):
            await self._webhook(target, event)
        elif isinstance(target, Slack):
            await self._post(target.url, json.dumps({"text": messages.text(event)}).encode(), {})
        elif isinstance(target, Email):
            password = self._secrets.text(target.password)
            await asyncio.to_thread(_mail, target, password, self._letter(target, event))
        else:
            await self._mqtt(target, json.dumps(event).encode())

    async def _webhook(self, target: Webhook, event: dict[str, Any]) -> None:
        body, media_type = cloudevents.body([event], batch=False)
        headers = {name: self._secrets.text(value) for name, value in target.headers.items()}
        secret = self._secrets.text(target.secret)
        headers |= cloudevents.signed_headers(secret, event["id"], self._clock.wall(), body)
        headers["Content-Type"] = media_type
        await self._post(target.url, body, headers)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "outrider-fleet", **headers}
        async with httpx.AsyncClient(
            timeout=DEADLINE_S, follow_redirects=False, transport=self._transport
        ) as client:
            answer = await client.post(self._secrets.text(url), content=body, headers=headers)
        if not answer.is_success:
            raise _failed(f"HTTP {answer.status_code}: {answer.text[:200]}")

    def _letter(self, target: Email, event: dict[str, Any]) -> EmailMessage:
        letter = EmailMessage()
        letter["Subject"] = messages.title(event)
        letter["From"] = target.sender
        letter["To"] = ", ".join(target.to)
        letter["Message-ID"] = f"<{event['id']}@{self._fleet}.outrider>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(messages.text(event))
        return letter

    async def _mqtt(self, target: Mqtt, payload: bytes) -> None:
        if not target.url:
            await self._publish(f"{ROOT}/{self._fleet}/_alerts/{target.topic}", payload, target.retain)
            return
        parts = urlsplit(target.url)
        context = ssl.create_default_context() if parts.scheme == "mqtts" else None
        async with Client(
            parts.hostname or "",
            parts.port or 1883,
            username=target.username or None,
            password=self._secrets.text(target.password) or None,
            tls_context=context,
            timeout=DEADLINE_S,
        ) as client:
            await client.publish(target.topic, payload, qos=1, retain=target.retain, timeout=DEADLINE_S)


def _mail(target: Email, password: str, letter: EmailMessage) -> None:
    """In a thread of its own; the library blocks."""
    context = ssl.create_default_context()
    timeout_s = DEADLINE_S - 1
    if target.security == "tls":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(
            target.host, target.port, timeout=timeout_s, context=context
        )
    else:
        connection = smtplib.SMTP(target.host, target.port, timeout=timeout_s)
    with connection:
        if target.security == "starttls":
            connection.starttls(context=context)
        if target.username:
            connection.login(target.username, password)
        connection.send_message(letter)


def _failed(words: str) -> Transient:
    return Transient(Reason.DELIVERY_FAILED, words[:ERROR_CHARACTERS])
