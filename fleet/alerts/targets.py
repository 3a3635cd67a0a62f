"""Where alerts go, as documents. Secrets are named (`secret:NAME`, of `[alerts.secrets]` in fleet.toml), and shown nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, TypeAdapter, ValidationInfo, field_validator

from fleet.alerts.rules import WORST, SeverityName, Written
from fleet.errors import Misconfigured, Refused
from fleet.references import resolve
from wire.names import Name
from wire.problem import Problem, nearest
from wire.reasons import Reason
from wire.redact import redact

SECRET = "secret:"
HIDDEN = "***"
Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;\"]{1,64}@[^\s@<>,;\"]{1,190}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^(secret:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Url = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[\x21-\x7e]+$")]
OWN_HEADERS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection"})


def _web(url: str) -> str:
    if not url.startswith(SECRET):
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not False
        except ValueError:
            good = False
        if not good:
            raise ValueError("http://… or https://… is expected, or secret:NAME")
    return url


class _Target(Written):
    enabled: bool = True
    min_severity: SeverityName = "info"

    def takes(self, severity: str) -> bool:
        return self.enabled and WORST.index(severity) <= WORST.index(self.min_severity)


class Webhook(_Target):
    """A CloudEvent (1.0, structured JSON) by POST; with `secret` it is signed as Standard Webhooks has it (`wire.cloudevents`)."""

    kind: Literal["webhook"]
    url: Url
    secret: Reference = ""
    headers: dict[
        HeaderName, Annotated[str, StringConstraints(max_length=500, pattern=r"^[\x20-\x7e]*$")]
    ] = Field(default_factory=dict, max_length=20)
    _url = field_validator("url")(_web)

    @field_validator("headers")
    @classmethod
    def _no_own(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"the header {name} is set here")
        return headers


class Slack(_Target):
    """An incoming webhook of Slack, Mattermost or another that takes `{"text": …}`."""

    kind: Literal["slack"]
    url: Url
    _url = field_validator("url")(_web)


class Email(_Target):
    """Mail over SMTP: `starttls` begins in the clear and must become TLS, `tls` is TLS from the start, `none` is for a relay on the same
    machine."""

    kind: Literal["email"]
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""
    password: Reference = ""
    sender: Address
    to: tuple[Address, ...] = Field(min_length=1, max_length=50)

    @field_validator("password")
    @classmethod
    def _not_in_the_clear(cls, password: str, given: ValidationInfo) -> str:
        if password and given.data.get("security") == "none":
            raise ValueError("a password needs starttls or tls")
        return password


class Mqtt(_Target):
    """A topic: of the fleet's own broker below `outrider/1/FLEET/_alerts/` (where `topic` is put), or any of another broker (`url`,
    `mqtt://` or `mqtts://HOST:PORT`)."""

    kind: Literal["mqtt"]
    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-][A-Za-z0-9._/-]{0,200}$")] = "alerts"
    url: Annotated[str, StringConstraints(max_length=300, pattern=r"^(mqtts?://[A-Za-z0-9.:\[\]-]+)?$")] = ""
    username: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""
    password: Reference = ""
    retain: bool = False

    @field_validator("url")
    @classmethod
    def _has_a_port(cls, url: str) -> str:
        if url and not (urlsplit(url).hostname and urlsplit(url).port):
            raise ValueError("mqtt://HOST:PORT or mqtts://HOST:PORT is expected")
        return url


Target = Annotated[Webhook | Slack | Email | Mqtt, Field(discriminator="kind")]
_TARGET: TypeAdapter[Webhook | Slack | Email | Mqtt] = TypeAdapter(Target)


def read_target(document: Mapping[str, Any]) -> Webhook | Slack | Email | Mqtt:
    """A document that was checked when it was written."""
    return _TARGET.validate_python(dict(document))


def shown(target: Webhook | Slack | Email | Mqtt) -> dict[str, Any]:
    """The document without what may be secret: values of headers and what follows the host of an address that is a secret itself."""
    document = target.to_json()
    if isinstance(target, Webhook):
        document["url"] = redact(target.url)
        document["headers"] = {
            name: value if value.startswith(SECRET) else HIDDEN for name, value in target.headers.items()
        }
    if isinstance(target, Slack) and not target.url.startswith(SECRET):
        parts = urlsplit(target.url)
        document["url"] = f"{parts.scheme}://{parts.hostname}/{HIDDEN}"
    return document


def restored(
    target: Webhook | Slack | Email | Mqtt, former: Webhook | Slack | Email | Mqtt | None
) -> Webhook | Slack | Email | Mqtt:
    """With what was hidden when it was shown, where it comes back as it was shown and goes to the same address.

    :raises Refused: something is hidden that there was not, or that would go elsewhere
    """
    hidden_at = [path for path, text in _texts(target.to_json()) if HIDDEN in text]
    if not isinstance(target, Webhook | Slack) or not hidden_at:
        return target
    same = type(former) is type(target) and shown(former)["url"] == target.url
    known = former if same and isinstance(former, Webhook | Slack) else None
    problems = []
    changes: dict[str, Any] = {}
    if HIDDEN in target.url:
        changes["url"] = known.url if known else ""
        problems += [] if known else [_hidden("url")]
    if isinstance(target, Webhook):
        kept = known.headers if isinstance(known, Webhook) else {}
        hidden = [name for name, value in target.headers.items() if value == HIDDEN]
        problems += [_hidden(f"headers.{name}") for name in hidden if name not in kept]
        changes["headers"] = {**target.headers, **{name: kept.get(name, "") for name in hidden}}
    if problems:
        raise Refused(Reason.INVALID_FIELD, "; ".join(map(str, problems)), problems)
    return target.model_copy(update=changes)


def _hidden(path: str) -> Problem:
    return Problem(
        f"body.{path}",
        Reason.INVALID_FIELD,
        "it is as it was shown, with *** in it",
        "it is given whole, or as secret:NAME",
    )


class Secrets:
    """The secrets that targets may name."""

    def __init__(self, references: Mapping[Name, str], environment: Mapping[str, str]) -> None:
        self._references = dict(references)
        self._environment = environment

    @property
    def names(self) -> list[str]:
        """What may be named."""
        return sorted(self._references)

    def check(self, target: Webhook | Slack | Email | Mqtt) -> None:
        """:raises Refused: with every secret that it names and that there is not"""
        problems = []
        for path, text in _texts(target.to_json(), "body"):
            if text.startswith(SECRET):
                try:
                    self._reference(text)
                except Refused as e:
                    problems.append(Problem(path, e.reason, str(e)))
        if problems:
            raise Refused(problems[0].reason, "; ".join(p.message for p in problems), problems)

    def text(self, value: str) -> str:
        """What is meant: the secret where one is named, else the value itself.

        :raises Refused: there is no such secret, or it cannot be read
        """
        if not value.startswith(SECRET):
            return value
        reference = self._reference(value)
        try:
            return resolve(reference, self._environment, f"alerts.secrets.{value.removeprefix(SECRET)}")
        except Misconfigured as e:
            raise Refused(e.reason, str(e)) from e

    def _reference(self, value: str) -> str:
        name = value.removeprefix(SECRET)
        if name not in self._references:
            hint = (
                nearest(name, self._references)
                or "add it to [alerts.secrets] of fleet.toml, as file:PATH or env:NAME"
            )
            raise Refused(Reason.UNKNOWN_REFERENCE, f"no secret is called {name[:64]!r}; {hint}")
        return self._references[name]


def _texts(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text with its place."""
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in _texts(each, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for at, each in enumerate(value) for found in _texts(each, f"{path}.{at}")]
    return [(path, value)] if isinstance(value, str) else []
