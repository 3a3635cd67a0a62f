"""A secret in memory: a password, a token. It shows itself nowhere; `reveal` is asked for by whoever hands it to a server."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
REFERENCE = "secret:"
"""A value that begins so names a secret of the device: `secret:mail-password`."""

IN_ADDRESS = re.compile(r"(?<=[:=])secret:([A-Za-z0-9._-]{1,64})(?=@|&|$)")
"""A reference within a camera's address, where its password or a token would stand: `rtsp://admin:secret:door@10.0.0.7/main`."""


def names_in(address: str) -> list[str]:
    """The secrets that an address names."""
    return IN_ADDRESS.findall(address)


class Secret:
    """Text that `repr`, `str`, `format` and logs show as `***`. Equal to another of the same text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    @property
    def reference(self) -> str:
        """The name of the device's secret it stands for; empty where it is the secret itself."""
        return self._text[len(REFERENCE) :] if self._text.startswith(REFERENCE) else ""

    def __repr__(self) -> str:
        return f"Secret({REFERENCE + self.reference if self.reference else MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __deepcopy__(self, _memo: Any) -> Secret:
        return self


def masked(text: str, *secrets: Secret | None) -> str:
    """The text without any of the secrets."""
    for secret in secrets:
        if secret and not secret.reference:
            text = text.replace(secret.reveal(), MASK)
    return text
