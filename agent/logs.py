"""Logging: one event a line, its fields as `key=value`, JSON or fields of the journal, every text redacted."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from agent import journald
from wire.redact import redact

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


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given by `extra=`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def set_up(
    form: str, level: str, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Send all logging of the process to `stream` (stderr); `form` is `text`, `json`, `journal`, or `auto`: the journal where
    stderr is the journal's, else text."""
    root = logging.getLogger()
    for former in root.handlers:
        former.close()
    root.handlers[:] = [_handler(form, stream or sys.stderr, environment)]
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
