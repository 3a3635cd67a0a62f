"""What came of the phases of the newest update, in a file of its own: a start tells it again. Standard library and `wire` only.

Apart from the journal, so that on a full disk no row needs more room than it has.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.files import DISK, Disk, write_atomic
from wire.errors import WireError
from wire.reported import SwapFigures

log = logging.getLogger(__name__)

FILE = "last-update.json"


@dataclass(frozen=True)
class Account:
    """`revision` 0 where nothing is known; `phases` and `began` as in `wire.reported.UpdateReport`."""

    revision: int = 0
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    swaps: tuple[SwapFigures, ...] = ()


class Accounts:
    """For one process at a time."""

    def __init__(self, state_dir: Path, disk: Disk = DISK) -> None:
        self._path = state_dir / FILE
        self._disk = disk

    def keep(self, account: Account, *, durable: bool) -> None:
        """In place of the one before; a disk that does not take it loses it, and nothing else."""
        body = {
            "revision": account.revision,
            "phases": account.phases,
            "began": account.began,
            "swaps": [swap.to_json() for swap in account.swaps],
        }
        try:
            write_atomic(
                self._path, json.dumps(body, default=str).encode(), 0o600, durable=durable, disk=self._disk
            )
        except OSError as e:
            log.info("the account of an update cannot be kept", extra={"cause": str(e)})

    def read(self) -> Account:
        """The newest; an empty one where there is none that can be read."""
        try:
            body = json.loads(self._path.read_bytes())
            swaps = tuple(SwapFigures.model_validate(swap) for swap in body["swaps"])
            return Account(int(body["revision"]), dict(body["phases"]), dict(body["began"]), swaps)
        except FileNotFoundError:
            return Account()
        except (OSError, WireError, ValueError, KeyError, TypeError) as e:
            log.warning("the account of the last update cannot be read", extra={"cause": str(e)})
            return Account()
