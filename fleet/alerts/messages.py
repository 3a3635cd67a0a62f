"""What is told of an alert: a CloudEvent (CloudEvents 1.0, structured JSON), and words for people. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fleet.alerts.decision import Alert, Notice
from fleet.health.faults import BY_CODE
from wire import cloudevents

DIGEST_ABOVE = 10
"""More alerts at once for a target become one message."""
DIGEST_SHOWS = 50
TYPE = "outrider.alert."
DIGEST, TEST = "digest", "test"
MARKS = {"critical": "🔴", "warning": "🟡", "info": "🔵"}


def data_of(name: str, alert: Alert, notice: Notice) -> dict[str, Any]:
    """What is told of one alert."""
    cause = alert.cause
    kind = BY_CODE.get(cause.code)
    told = asdict(cause)
    return {
        "alert": name,
        "state": notice.value,
        **{
            field: told[field]
            for field in ("rule", "severity", "code", "subject", "site", "device", "part", "summary", "fault")
        },
        "text": kind.text if kind else "",
        "remedy": kind.remedy if kind else "",
        "since": cause.since,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "notice": alert.notices,
    }


def digest_of(all_of_them: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Many alerts in one message; those that are left out are counted."""
    worst = sorted(all_of_them, key=lambda data: (list(MARKS).index(data["severity"]), data["subject"]))
    return {
        "state": DIGEST,
        "total": len(worst),
        "severity": worst[0]["severity"],
        "alerts": worst[:DIGEST_SHOWS],
    }


def cloud_event(event_id: str, source: str, kind: str, at: float, data: dict[str, Any]) -> dict[str, Any]:
    """The envelope. `id` is the same at every attempt, so that who gets it twice can tell."""
    return cloudevents.envelope(TYPE + kind, event_id, source, at, data, data.get("subject", ""))


def title(event: dict[str, Any]) -> str:
    """One line, for a subject or a notification."""
    data, fleet = event["data"], event["source"].rpartition("/")[2]
    if data["state"] == DIGEST:
        return f"[{fleet}] {data['severity'].upper()}: {data['total']} alerts"
    if data["state"] == TEST:
        return f"[{fleet}] Test of the target {data['target']}"
    state = {"firing": data["severity"].upper(), "repeat": f"STILL {data['severity'].upper()}"}
    return f"[{fleet}] {state.get(data['state'], 'OVER')}: {data['code']} of {data['subject']}"


def text(event: dict[str, Any]) -> str:
    """Everything that a person wants to know, as plain text."""
    data = event["data"]
    if data["state"] == DIGEST:
        lines = [
            f"{_mark(each)} {_state(each)}{each['code']} of {each['subject']}" for each in data["alerts"]
        ]
        if data["total"] > len(lines):
            lines.append(f"… and {data['total'] - len(lines)} more")
        return "\n".join(lines)
    if data["state"] == TEST:
        return f"This is a test, asked for by {data['by']}. Alerts will look like this one."
    lines = [f"{_mark(data)} {title(event)}", data["summary"], data["text"], data["remedy"], ""]
    lines += [f"{name}: {data[name]}" for name in ("site", "device", "part", "rule") if data[name]]
    lines.append(f"since: {_time(data['since'])}")
    if data["resolved_at"]:
        lines.append(f"over since: {_time(data['resolved_at'])}")
    return "\n".join(line for place, line in enumerate(lines) if line or place == 4)


def _mark(data: dict[str, Any]) -> str:
    return "🟢" if data["state"] == Notice.RESOLVED.value else MARKS[data["severity"]]


def _state(data: dict[str, Any]) -> str:
    return "over: " if data["state"] == Notice.RESOLVED.value else ""


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
