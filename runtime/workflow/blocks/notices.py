"""Sinks that tell people and programs: webhook, chat, e-mail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from runtime.sinks.sender import Calling, Sender
from runtime.sinks.web import Request, WebSender
from runtime.workflow.blocks.core import prepared
from runtime.workflow.fields import (
    FLOAT,
    INTEGER,
    LIST,
    STRING,
    Choice,
    Either,
    Field,
    ListOf,
    Number,
    Report,
    Text,
    dictionary,
    kinds,
    need,
    option,
)
from runtime.workflow.query.conditions import Chain
from runtime.workflow.query.literals import NamedOperations
from runtime.workflow.serialise import to_json
from runtime.workflow.sinkblock import (
    COOLING,
    DISABLE_SINK,
    DISABLED,
    FIRE_AND_FORGET,
    THROTTLED_STATUS,
    Part,
    SinkBlock,
    cooldown,
    filled,
    secret,
)
from wire.secret import Secret

URL = Text(2048)
TIMEOUT = Number(above=0, high=60)
Told = tuple[bool, bool, str]
"""error_status, throttling_status, message"""


def operations(name: str) -> Field:
    return option(name, NamedOperations(), {})


class Notice(SinkBlock):
    """`gate` first, then `send`."""

    outputs = THROTTLED_STATUS

    def gate(self, disable_sink: bool, cooldown_seconds: float, *values: Any) -> Told | None:
        """What is told in place of sending; None where it is to be sent."""
        if disable_sink:
            return False, False, DISABLED
        if why := self.kept_back(*values):
            return True, False, why
        return (False, True, COOLING) if self.throttled(cooldown_seconds) else None

    def send(self, body: Any, size_bytes: int, fire_and_forget: bool) -> Told:
        error, message, _ = self.deliver(body, size_bytes, wait=not fire_and_forget)
        return error, False, message

    def parts(self, values: Mapping[str, Any]) -> dict[str, Part]:
        return {name: Part(value, self.around.desk.pictures) for name, value in values.items()}


class WebhookSink(Notice):
    types = ("roboflow_core/webhook_sink@v1",)
    title = "Webhook"
    library = "httpx"
    fields = (
        need("url", URL, STRING),
        Field("method", literal=Choice(("GET", "POST", "PUT"))),
        dictionary("query_parameters", required=False),
        dictionary("headers", required=False),
        dictionary("json_payload", required=False),
        operations("json_payload_operations"),
        dictionary("multi_part_encoded_files", required=False),
        operations("multi_part_encoded_files_operations"),
        dictionary("form_data", required=False),
        operations("form_data_operations"),
        option("request_timeout", TIMEOUT, 2, INTEGER, FLOAT),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(),
    )

    def sender(self) -> Sender:
        return WebSender()

    def run(
        self,
        url: str,
        method: str,
        query_parameters: dict[str, Any],
        headers: dict[str, Any],
        json_payload: dict[str, Any],
        json_payload_operations: dict[str, Chain],
        multi_part_encoded_files: dict[str, Any],
        multi_part_encoded_files_operations: dict[str, Chain],
        form_data: dict[str, Any],
        form_data_operations: dict[str, Chain],
        request_timeout: float,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> Told:
        payload = prepared(json_payload, json_payload_operations)
        files = prepared(multi_part_encoded_files, multi_part_encoded_files_operations)
        form = prepared(form_data, form_data_operations)
        if told := self.gate(disable_sink, cooldown_seconds, payload, files, form, query_parameters):
            return told
        parts = self.parts(files)
        document = json.dumps(to_json(payload)).encode() if payload or method != "GET" else b""
        query, fields, head = to_json(query_parameters), to_json(form), _texts(headers)
        vault = self.around.desk.vault

        def request() -> Request:
            made = {name: (part.name(name), *part.made()) for name, part in parts.items()}
            filled_head = {name: vault.fill(text) for name, text in head.items()}
            filled_query = {n: vault.fill(v) if isinstance(v, str) else v for n, v in query.items()}
            return Request(
                method,
                vault.fill(url),
                request_timeout,
                filled_query,
                filled_head,
                document,
                _flat(fields),
                made,
            )

        size_bytes = len(document) + sum(part.size_bytes for part in parts.values()) + 512
        return self.send(request, size_bytes, fire_and_forget)


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in headers.items()}


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A form has texts: what is an object or a list of objects is written as JSON."""
    return {n: json.dumps(v) if isinstance(v, (dict, list)) else v for n, v in fields.items()}


MESSAGE = (
    Field("message", literal=Text()),
    dictionary("message_parameters", required=False),
    operations("message_parameters_operations"),
)
CONTROL = (FIRE_AND_FORGET, DISABLE_SINK, cooldown())


class SlackNotification(Notice):
    types = ("roboflow_core/slack_notification@v1",)
    title = "Slack"
    library = "httpx"
    fields = (
        secret("slack_token", required=True),
        need("channel", Text(256), STRING),
        *MESSAGE,
        dictionary("attachments", required=False),
        *CONTROL,
        option("cooldown_session_key", Text(256), ""),
        option("api_url", URL, "https://slack.com/api", STRING),
    )

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        if step.get("attachments"):
            report.add(
                f"{path}.attachments",
                "files are not sent to Slack here",
                "no attachments",
                "send them by e-mail, or by a webhook",
            )

    def sender(self) -> Sender:
        return WebSender()

    def run(
        self,
        slack_token: Secret | str,
        channel: str,
        message: str,
        message_parameters: dict[str, Any],
        message_parameters_operations: dict[str, Chain],
        attachments: dict[str, Any],
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
        cooldown_session_key: str,
        api_url: str,
    ) -> Told:
        if told := self.gate(disable_sink, cooldown_seconds, message_parameters):
            return told
        text = filled(message, message_parameters, message_parameters_operations)
        document = json.dumps({"channel": channel, "text": text}).encode()
        token, vault = self.secret(slack_token), self.around.desk.vault

        def request() -> Request:
            return Request(
                "POST",
                f"{api_url.rstrip('/')}/chat.postMessage",
                5.0,
                headers={"Authorization": f"Bearer {vault.open(token)}"},
                document=document,
                verdict=_slack_verdict,
            )

        return self.send(request, len(document), fire_and_forget)


def _slack_verdict(answer: Any) -> str:
    """Slack answers HTTP 200 also when it refuses."""
    good = isinstance(answer, dict) and answer.get("ok") is True
    return "" if good else str(answer.get("error", "no ok") if isinstance(answer, dict) else "no JSON")[:100]


class ChatWebhook(Notice):
    """An incoming webhook as Slack, Mattermost, Rocket.Chat and Teams offer it: a URL that takes `{"text": …}`."""

    types = ("outrider/chat_webhook@v1",)
    title = "Chat webhook"
    library = "httpx"
    fields = (secret("url", required=True), *MESSAGE, *CONTROL)

    def sender(self) -> Sender:
        return WebSender()

    def run(
        self,
        url: Secret | str,
        message: str,
        message_parameters: dict[str, Any],
        message_parameters_operations: dict[str, Chain],
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> Told:
        if told := self.gate(disable_sink, cooldown_seconds, message_parameters):
            return told
        text = filled(message, message_parameters, message_parameters_operations)
        document = json.dumps({"text": text}).encode()
        place, vault = self.secret(url), self.around.desk.vault
        return self.send(
            lambda: Request("POST", vault.open(place), 5.0, document=document),
            len(document),
            fire_and_forget,
        )


RECEIVERS = Either((Text(1024), ListOf(Text(1024), 1, 100)))


def receivers(name: str, *, required: bool = False) -> Field:
    return Field(name, kinds(STRING, LIST), RECEIVERS, required=required, default=None)


class EmailNotification(Notice):
    types = ("roboflow_core/email_notification@v1",)
    title = "E-mail"
    html = False
    fields: ClassVar[tuple[Field, ...]] = (
        Field("subject", literal=Text(512)),
        *MESSAGE,
        need("sender_email", Text(512), STRING),
        receivers("receiver_email", required=True),
        receivers("cc_receiver_email"),
        receivers("bcc_receiver_email"),
        dictionary("attachments", required=False),
        need("smtp_server", Text(512), STRING),
        secret("sender_email_password"),
        option("smtp_port", Number(1, 65535, integer=True), 465, INTEGER),
        *CONTROL,
    )

    def sender(self) -> Sender:
        from runtime.sinks import mail

        return Calling(mail.send)

    def run(
        self,
        subject: str,
        message: str,
        message_parameters: dict[str, Any],
        message_parameters_operations: dict[str, Chain],
        sender_email: str,
        receiver_email: str | list[str],
        cc_receiver_email: str | list[str] | None,
        bcc_receiver_email: str | list[str] | None,
        attachments: dict[str, Any],
        smtp_server: str,
        sender_email_password: Secret | str | None,
        smtp_port: int,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
        email_provider: str = "",
    ) -> Told:
        if told := self.gate(disable_sink, cooldown_seconds, attachments, message_parameters):
            return told
        from runtime.sinks.mail import Mail

        text = filled(message, message_parameters, message_parameters_operations)
        parts = self.parts(attachments)
        password, vault = self.secret(sender_email_password), self.around.desk.vault

        def message_() -> Mail:
            return Mail(
                smtp_server,
                smtp_port,
                sender_email,
                vault.open(password),
                _list(receiver_email),
                subject,
                text,
                _list(cc_receiver_email),
                _list(bcc_receiver_email),
                html=self.html,
                attachments={part.name(name): part.made() for name, part in parts.items()},
            )

        size_bytes = len(text) + sum(part.size_bytes for part in parts.values()) + 1024
        return self.send(message_, size_bytes, fire_and_forget)


def _list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


CUSTOM_SMTP = "Custom SMTP"
MANAGED = "Roboflow Managed API Key"


class EmailNotificationV2(EmailNotification):
    """As version 1, and pictures as attachments, and the message is HTML. Mail by the original's own service is not sent here."""

    types = ("roboflow_core/email_notification@v2",)
    html = True
    fields = (
        option("email_provider", Choice((MANAGED, CUSTOM_SMTP)), MANAGED),
        *EmailNotification.fields,
    )

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        if step.get("email_provider", MANAGED) == MANAGED:
            report.add(
                f"{path}.email_provider",
                f"{MANAGED!r} is a service of another company",
                CUSTOM_SMTP,
                "name your own server: smtp_server, smtp_port, sender_email, sender_email_password",
            )


BLOCKS = (WebhookSink, SlackNotification, ChatWebhook, EmailNotification, EmailNotificationV2)
