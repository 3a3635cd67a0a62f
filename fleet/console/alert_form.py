"""Rules and targets of alerts as their forms have them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.alerts.rules import SHARES
from fleet.console.fields import Field, Values, document_of
from fleet.health.figures import SCOPES

SEVERITIES = {"info": "info or worse", "warning": "warning or worse", "critical": "critical alone"}
SECURITY = {"starttls": "STARTTLS", "tls": "TLS from the start", "none": "none (a relay on this machine)"}
_WEB = "an address that begins with http:// or https://, or secret:NAME"
_PATTERNS = "names with commas; * and ? stand for other letters"
_SECRET = "a secret that is named in fleet.toml"

NAME = Field("name", "Name", expects="letters, digits, . _ and -, at most 64")


@dataclass(frozen=True)
class TargetKind:
    """A kind of target; `lead` says what it is sent."""

    title: str
    lead: str
    fields: Sequence[Field]


_SHARED = (
    Field("min_severity", "Is told of what is", "choice", options=SEVERITIES, default="info"),
    Field("enabled", "In use", "flag", default=True),
)
_LOGIN = (
    Field("username", "User", hint="Where it asks for one", expects="letters and signs, no spaces"),
    Field("password", "Password", "secret", expects=_SECRET),
)
_WEBHOOK = (
    Field("url", "Address", placeholder="https://example.org/hook", hint="Or secret:NAME", expects=_WEB),
    Field("secret", "Signed with", "secret", expects=_SECRET),
    Field(
        "headers",
        "Headers",
        "pairs",
        placeholder="Authorization: secret:hook-token",
        hint="One a line, NAME: VALUE; a value may be secret:NAME",
        expects="lines of NAME: VALUE",
    ),
)
_SLACK = (Field("url", "Address", placeholder="secret:slack-url", hint="Best as secret:NAME", expects=_WEB),)
_EMAIL = (
    Field("host", "Mail server", placeholder="mail.example.org", expects="the name of a host"),
    Field("port", "Port", "number", expects="1 to 65535", default=587),
    Field("security", "Encryption", "choice", options=SECURITY, default="starttls"),
    *_LOGIN,
    Field("sender", "From", placeholder="outrider@example.org", expects="one address, NAME@HOST"),
    Field("to", "To", "list", placeholder="team@example.org", expects="addresses, NAME@HOST, with commas"),
)
_MQTT = (
    Field(
        "topic",
        "Topic",
        hint="Of the fleet's own broker: below outrider/1/FLEET/_alerts/",
        expects="letters, digits, . _ - and /",
        default="alerts",
    ),
    Field(
        "url",
        "Another broker",
        placeholder="mqtts://broker.example.org:8883",
        hint="Empty is the fleet's own",
        expects="mqtt://HOST:PORT or mqtts://HOST:PORT",
    ),
    *_LOGIN,
    Field("retain", "Retained", "flag", default=False),
)
TARGETS: Mapping[str, TargetKind] = {
    "webhook": TargetKind("Webhook", "A CloudEvent (JSON) by POST.", (*_WEBHOOK, *_SHARED)),
    "slack": TargetKind(
        "Chat: Slack, Mattermost …", "A line of text to an incoming webhook.", (*_SLACK, *_SHARED)
    ),
    "email": TargetKind("Mail", "A letter over SMTP.", (*_EMAIL, *_SHARED)),
    "mqtt": TargetKind("MQTT", "The CloudEvent on a topic.", (*_MQTT, *_SHARED)),
}


def target_document(kind: str, values: Values) -> dict[str, Any]:
    """:raises Complaints: what cannot be read"""
    return {"kind": kind, **document_of(TARGETS[kind].fields, values)}


def figures() -> dict[str, str]:
    """Every figure that a rule may be about, after whose it is."""
    scopes = {name: scope for scope, names in SCOPES.items() for name in names}
    scopes |= {name: scope for name, (scope, _) in SHARES.items()}
    found = {name: f"{scope}: {name.replace('_', ' ')}" for name, scope in scopes.items()}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


ABOUT = {"faults": "faults", "figure": "a figure past a limit"}
BOUNDS = ("above", "below")
RULE = (
    Field(
        "codes",
        "Codes",
        "list",
        hint="Names with commas; * and ? stand for other letters, here and below",
        group="faults",
        expects=_PATTERNS,
        default=("*",),
    ),
    Field("limit.figure", "Figure", "choice", options=figures(), group="figure", default="blind_share"),
    Field(
        "limit.bound",
        "Is",
        "choice",
        options=dict(zip(BOUNDS, BOUNDS, strict=True)),
        group="figure",
        default="above",
    ),
    Field(
        "limit.value",
        "This limit",
        "number",
        hint="Shares are from 0 to 1",
        group="figure",
        expects="a number",
    ),
    Field(
        "limit.window_s",
        "Over the last",
        "span",
        group="figure",
        expects="whole quarters of an hour, at most a day",
        default=3600,
    ),
    Field("sites", "Sites", "list", expects=_PATTERNS, default=("*",)),
    Field("min_severity", "At least", "choice", options=SEVERITIES, group="faults", default="info"),
    Field("devices", "Devices", "list", expects=_PATTERNS, default=("*",)),
    Field(
        "selector",
        "Labels",
        placeholder="line in (1, 2), !spare",
        hint="Of devices; empty is every one",
        expects="a selector such as site=north, line in (1, 2)",
    ),
    Field("targets", "Targets", "list", hint="* is every one", expects=_PATTERNS, default=("*",)),
    Field(
        "severity",
        "Told as",
        "choice",
        options={"": "what it is", "info": "info", "warning": "warning", "critical": "critical"},
    ),
    Field(
        "for_s",
        "After it has lasted",
        "span",
        hint="e.g. 90 s, 10 min, 4 h",
        expects="at most 7 days",
        default=60,
    ),
    Field(
        "repeat_s",
        "And again every",
        "span",
        hint="Until somebody acknowledges",
        expects="1 min to 30 days",
        default=14_400,
    ),
    Field("resolve_s", "Over once gone for", "span", expects="at most a day", default=0),
    Field(
        "place",
        "Place",
        "number",
        hint="Of rules that fit, the lowest has it",
        expects="0 to 10000",
        default=100,
    ),
    Field("tell_resolved", "Tell that it is over", "flag", default=True),
    Field("enabled", "In use", "flag", default=True),
)


def shown_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule with its limit as the form has it: `bound` and `value`."""
    limit = dict(rule.get("limit") or {})
    for bound in BOUNDS:
        value = limit.pop(bound, None)
        if value is not None:
            limit |= {"bound": bound, "value": value}
    return {**rule, "limit": limit}


def rule_document(values: Values, about: str) -> dict[str, Any]:
    """:raises Complaints: what cannot be read"""
    document = document_of(RULE, values, about)
    limit = document.get("limit", {})
    if "value" in limit:
        limit[limit["bound"]] = limit.pop("value")
    limit.pop("bound", None)
    return document


def rule_problems(problems: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Located as the form has it: what is wrong with a limit as a whole is wrong with its value."""
    places = {"body.limit": "body.limit.value", **{f"body.limit.{b}": "body.limit.value" for b in BOUNDS}}
    return [{**each, "path": places.get(each.get("path", ""), each.get("path", ""))} for each in problems]
