"""Logging: one event a line, its fields as `key=value`, JSON or fields of the journal, every text redacted."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from agent import journald
from wire.redact import redact

RECENT_LINES = 2000
RECENT_CHARACTERS = 2000

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class Redacted(logging.Formatter):
    """Text lines with the record's extra fields behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value}" for key, value in extras(record).items())
        text = f"{record.levelname.lower()} {record.name}: {record.getMessage()}"
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return redact(f"{text} {fields}".rstrip() + trace)


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            body["trace"] = self.formatException(record.exc_info)
        return redact(json.dumps(body, default=str))


class Recent(logging.Handler):
    """The newest lines, for the command `log-tail` and the bundle of diagnostics."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=RECENT_LINES)
        self.setFormatter(Dated())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:RECENT_CHARACTERS])


class Dated(Redacted):
    """The text lines behind their time, UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        return f"{at} {super().format(record)}"


def recent(lines: int) -> list[str]:
    """The newest lines of this process, oldest first."""
    kept = next((each for each in logging.getLogger().handlers if isinstance(each, Recent)), None)
    return list(kept.lines)[-lines:] if kept is not None else []


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given by `extra=`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def set_up(
    form: str, level: str, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Send all logging of the process to `stream` (stderr); `form` is `text`, `json`, `journal`, or `auto`: the journal where
    stderr is the journal's, else text."""
    root = logging.getLogger()
    kept = [each for each in root.handlers if isinstance(each, Recent)] or [Recent()]
    for former in root.handlers:
        if former not in kept:
            former.close()
    root.handlers[:] = [_handler(form, stream or sys.stderr, environment), *kept]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _handler(form: str, stream: TextIO, environment: Mapping[str, str]) -> logging.Handler:
    if form == "journal" or (form == "auto" and journald.connected(environment, stream)):
        try:
            return journald.JournalHandler(extras)
        except OSError as e:
            print(f"outrider agent: no journal listens ({e}); logging to stderr", file=sys.stderr)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Json() if form == "json" else Redacted())
    return handler
