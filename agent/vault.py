"""The secrets of the desired state, opened with the device's key.

They are in memory, and in files of mode 0600 in the run directory, a tmpfs, for the pipelines' sinks: on no disk. A camera's
address names one where its password would stand: `rtsp://admin:secret:door@10.0.0.7/main`, `…?token=secret:door`.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from urllib.parse import quote

from agent.errors import AgentError, UpdateRefused
from agent.files import write_atomic
from agent.keys import Keys
from wire import local
from wire.desired import Desired
from wire.errors import Refused
from wire.problem import Problem
from wire.reasons import Reason
from wire.secret import IN_ADDRESS, names_in

log = logging.getLogger(__name__)

MAX_OWN_BYTES = 65536


class Vault:
    """`own_dir` holds secrets that a person has put on the device, one a file; they go first. `fleet_dir` is written here."""

    def __init__(self, keys: Keys, device: str, own_dir: Path, fleet_dir: Path) -> None:
        self._keys = keys
        self._device = device
        self._own_dir = own_dir
        self.fleet_dir = fleet_dir
        self._values: dict[str, str] = {}

    def check(self, desired: Desired) -> None:
        """Whether every secret can be opened, and every camera's is there.

        :raises UpdateRefused: with every problem
        """
        values, problems = self._opened(desired)
        for name, camera in desired.cameras.items():
            for wanted in names_in(camera.source):
                if wanted not in values and self._own(wanted) is None:
                    problems.append(
                        Problem(
                            f"cameras.{name}.source",
                            Reason.SECRET_UNREADABLE,
                            f"no secret is called {wanted!r}",
                            remedy=f"outrider fleet device secret set {self._device} {wanted}",
                        )
                    )
        if problems:
            raise UpdateRefused(problems[0].reason, "; ".join(map(str, problems)), problems)

    def take(self, desired: Desired | None) -> None:
        """Use the secrets of this document from now on; one that cannot be opened is left out and logged."""
        values, problems = self._opened(desired) if desired else ({}, [])
        for problem in problems:
            log.error("a secret cannot be used", extra={"cause": str(problem)})
        self._values = values
        try:
            self.fleet_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self.fleet_dir.iterdir():
                if path.name not in values:
                    path.unlink(missing_ok=True)
            for name, value in values.items():
                write_atomic(self.fleet_dir / name, value.encode(), 0o600, durable=False)
        except OSError as e:
            log.error("secrets cannot be written for the sinks", extra={"cause": str(e)})

    def texts(self) -> list[str]:
        """Every secret this device can read now, to be kept out of what leaves it."""
        own = [self._own(path.name) for path in self._own_dir.glob("*")]
        return [text for text in (*self._values.values(), *own) if text]

    def fill(self, camera: local.CameraSource) -> local.CameraSource:
        """The camera with its secrets in place, for its own process only; a name that is unknown stays as it is."""
        source = IN_ADDRESS.sub(self._value, camera.source)
        return camera if source == camera.source else dataclasses.replace(camera, source=source)

    def _value(self, match: re.Match[str]) -> str:
        own = self._own(match[1])
        value = self._values.get(match[1]) if own is None else own
        return match[0] if value is None else quote(value, safe="")

    def _opened(self, desired: Desired) -> tuple[dict[str, str], list[Problem]]:
        values: dict[str, str] = {}
        problems: list[Problem] = []
        for name, sealed in desired.secrets.items():
            try:
                values[name] = self._keys.unseal(self._device, name, sealed)
            except (Refused, AgentError, OSError) as e:
                problems.append(Problem(f"secrets.{name}", Reason.SECRET_UNREADABLE, str(e)))
        return values, problems

    def _own(self, name: str) -> str | None:
        path = self._own_dir / name
        try:
            return path.read_bytes()[:MAX_OWN_BYTES].decode(errors="replace").rstrip("\r\n")
        except OSError:
            return None
