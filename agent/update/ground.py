"""What the executor stands on: the work of each phase as a protocol, and the typed answers to it. Standard library only.

The same executor drives the device's processes (`agent.update.live`) and a tree of plain files (`agent.update.tree`).
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from agent.update.journal import Document
from wire.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True)
class Go:
    """The phase's work is done. `note` and `figures` go into reported state."""

    note: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """SHADOW was not done, and why."""

    why: str


@dataclass(frozen=True)
class Wait:
    """PROBATION has not decided yet and is to be asked again."""

    why: str = ""


@dataclass(frozen=True)
class Refusal:
    """Ends the update. `gate`, `figure` and `limit` name what was broken.

    `suspects` are the digests to quarantine where it ends ROLLED_BACK; None means all that are new in the revision.
    """

    reason: Reason
    message: str
    problems: tuple[dict[str, Any], ...] = ()
    gate: str = ""
    figure: float | None = None
    limit: float | None = None
    suspects: tuple[str, ...] | None = None


class TooLate(Exception):
    """A deadline is over."""


class Ground(Protocol):
    """The work. Every method may be called again after a cut, and does then what is missing.

    An `agent.errors.AgentError` or an OSError that comes out of one is a refusal too.
    """

    async def admit(self, document: Document) -> Go | Refusal:
        """Whether it fits on this device, before bytes are spent."""

    async def fetch(self, document: Document) -> Go | Refusal:
        """Have every artifact on the device, whole and checked."""

    async def prepare(self, document: Document) -> Go | Refusal:
        """Have everything new ready beside what serves."""

    def shadows(self, document: Document) -> bool:
        """Whether the candidate is to be compared before it serves."""

    async def shadow(self, document: Document) -> Go | Skip | Refusal:
        """Compare the candidate with what serves; nothing of it goes out."""

    async def swap(self, document: Document) -> Go | Refusal:
        """Switch. `current` names the revision after this; until then a cut is as if nothing had been."""

    async def settle(self, document: Document) -> None:
        """`current` names it: candidates take their places."""

    def judge(self, document: Document, elapsed_s: float) -> Go | Wait | Refusal:
        """A look at what runs on probation, `elapsed_s` after its begin in this process. Does not wait."""

    async def back(self, document: Document, former: Document | None) -> None:
        """Have the former revision run again; nothing where there is none. `current` names it already."""

    async def discard(self, document: Document) -> None:
        """It is refused: throw away what was prepared. What serves is not touched."""

    async def release(self, kept: list[Document]) -> None:
        """An update is over: let go of everything that these documents do not need."""


class Time(Protocol):
    """Times and waiting as parameters."""

    def mono(self) -> float: ...

    def wall(self) -> float: ...

    def synced(self) -> bool:
        """Whether the wall clock is right."""

    async def pause(self, seconds: float) -> None: ...

    async def within(self, deadline_s: float, work: Coroutine[Any, Any, T]) -> T:
        """:raises TooLate: the work is not done in time; it is broken off"""
