"""Secrets in a configuration by reference: `env:NAME` and `file:PATH` stand for what lies there; any other text is itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleet.errors import Misconfigured
from wire.reasons import Reason


def resolve(text: str, environment: Mapping[str, str], where: str) -> str:
    """The text that is meant, without the line end of a file. `where` names the field for the message.

    :raises Misconfigured: the variable is not set, or the file cannot be read
    """
    kind, _, name = text.partition(":")
    if kind == "env":
        if name not in environment:
            raise Misconfigured(
                Reason.CONFIG_INVALID,
                f"{where} is env:{name}, and {name} is not set; set it, or use file:PATH",
            )
        return environment[name]
    if kind == "file":
        try:
            return Path(name).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise Misconfigured(
                Reason.CONFIG_INVALID, f"{where} is file:{name}, which cannot be read: {e}"
            ) from e
    return text
