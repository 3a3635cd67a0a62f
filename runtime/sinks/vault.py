"""The device's own secrets, by name: systemd's credentials, or files that only their owner can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from runtime.sinks.sender import Undelivered
from wire.secret import REFERENCE, Secret

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
AT_END = re.compile(rf"(?:^|(?<=\s)){REFERENCE}[A-Za-z0-9._-]{{1,64}}$")
MAX_BYTES = 65536


class Vault:
    """Folders of secrets, one a file; the first that has a name wins. Read each time, so that a renewed one is taken."""

    def __init__(self, folders: Sequence[str | Path] = ()) -> None:
        self._folders = [Path(folder) for folder in folders if str(folder)]

    @classmethod
    def of_process(cls, *more: str | Path) -> Vault:
        """The credentials systemd gave to this process, then these folders."""
        return cls([os.environ.get("CREDENTIALS_DIRECTORY", ""), *more])

    def open(self, value: Secret | str | None) -> str:
        """The text of a secret; one that is written as `secret:NAME` is looked up. Empty where there is none.

        :raises Undelivered: no secret of that name, or others can read its file
        """
        secret = value if isinstance(value, Secret) else Secret(value or "")
        name = secret.reference
        if not name:
            return secret.reveal()
        if NAME.fullmatch(name) is None or name.strip(".") == "":
            raise Undelivered(
                f"{REFERENCE}{name[:64]!r} is no name of a secret: letters, digits, '.', '_', '-'",
                again=False,
            )
        for folder in self._folders:
            path = folder / name
            if path.is_file():
                return self._read(path)
        places = " or ".join(str(folder) for folder in self._folders) or "any folder: none is configured"
        raise Undelivered(f"no secret is called {name!r} in {places}", again=False)

    def fill(self, text: str) -> str:
        """The text with a secret in place of its name at the end, as in `Bearer secret:NAME`.

        :raises Undelivered: as `open`
        """
        return AT_END.sub(lambda match: self.open(Secret(match[0])), text)

    @staticmethod
    def _read(path: Path) -> str:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
            raise Undelivered(
                f"others can read the secret {path.name!r} (mode {stat.S_IMODE(mode):o}): chmod 600",
                again=False,
            )
        return path.read_bytes()[:MAX_BYTES].decode(errors="replace").rstrip("\r\n")
