"""Log records to systemd's journal, with their fields, so that `journalctl CAMERA=dock` finds what is about one camera.

Source: "Native Journal Protocol", systemd's documentation. Where there is no journal, `agent.logs` writes lines to stderr.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from wire.redact import redact

SOCKET = Path("/run/systemd/journal/socket")
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Of syslog(3), for levels of logging."""
MAX_FIELD_BYTES = 16 * 1024
"""Of one value; a longer one is cut, so that a message stays below the 208 KiB that a datagram may have by default."""
MAX_FIELDS = 32
_NAME = re.compile(r"[^A-Z0-9_]")


def connected(environment: Mapping[str, str], stream: TextIO = sys.stderr) -> bool:
    """Whether `stream` is the journal's (`$JOURNAL_STREAM` names its device and inode)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends each record as one datagram. A journal that does not take it costs the record, never the agent's time."""

    def __init__(self, fields: Any, path: Path = SOCKET, identifier: str = "outrider-agent") -> None:
        """`fields` gives the extra fields of a record.

        :raises OSError: there is no journal
        """
        super().__init__()
        self._fields = fields
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.send(self._encoded(record))
        except OSError:
            # Nowhere to say it: the journal is what would be told.
            return

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _encoded(self, record: logging.LogRecord) -> bytes:
        extra = dict(list(self._fields(record).items())[:MAX_FIELDS])
        told = " ".join(f"{key}={value}" for key, value in extra.items())
        trace = (
            "\n" + (self.formatter or logging.Formatter()).formatException(record.exc_info)
            if record.exc_info
            else ""
        )
        fields = {
            "MESSAGE": f"{record.getMessage()} {told}".rstrip() + trace,
            "PRIORITY": PRIORITIES.get(record.levelno, 6),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            **{_field_name(key): value for key, value in extra.items()},
        }
        return b"".join(_field(name, redact(str(value))) for name, value in fields.items() if name)


def _field_name(name: str) -> str:
    """Upper case, digits, underscores; fields that begin with an underscore are the journal's own."""
    return _NAME.sub("_", name.upper()).lstrip("_0123456789")[:64]


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")[:MAX_FIELD_BYTES]
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
