"""The life of an update as one table: from each phase by each event to the next. Pure data, and how it is read.

What follows from it is tested for any order of events: an update always ends; the revision under way is live only from SWAPPING on;
nothing passes a gate that failed; a newer revision and a cancellation count until SWAPPING and not from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wire.phase import TERMINAL, Phase


class Event(str, Enum):
    """What happens to an update in a phase."""

    PASS = "pass"  # the phase's work is done
    HOLD = "hold"  # the detour is needed: a window is to be waited for, a comparison to be made
    FAIL = "fail"  # the phase's work is refused, or its deadline is over
    SUPERSEDE = "supersede"  # a newer revision has arrived
    CANCEL = "cancel"  # an operator does not want it
    CUT = "cut"  # the process or the power is gone, and back
    STARTS = "starts"  # it was cut too often in this phase


@dataclass(frozen=True)
class Row:
    """One phase. `passes`, `hold` and `fails` name the next; `cut` where it is taken up after one.

    `yields`: a newer revision or a cancellation ends it. `live`: `current` may name this revision. `starts`: so many cuts in this
    phase count as a failure. `deadline` names the limit; `survives` says what is on disk after a power cut.
    """

    phase: Phase
    passes: Phase
    fails: Phase
    cut: Phase
    yields: bool
    live: bool
    starts: int
    deadline: str
    does: str
    survives: str
    hold: Phase | None = None
    anew: bool = False
    """Reached by work, and not by a cut, it counts its cuts from none."""


MANY_STARTS = 100
"""For phases that may last days: a device that is switched off each night goes on where it was."""

ROWS = (
    Row(
        Phase.OFFERED,
        passes=Phase.VERIFIED,
        fails=Phase.REJECTED,
        cut=Phase.OFFERED,
        yields=True,
        live=False,
        starts=MANY_STARTS,
        deadline="step",
        does="refuses what is quarantined",
        survives="the signed document's content and its row",
    ),
    Row(
        Phase.VERIFIED,
        passes=Phase.FETCHING,
        fails=Phase.REJECTED,
        cut=Phase.VERIFIED,
        yields=True,
        live=False,
        starts=MANY_STARTS,
        deadline="admit",
        does="asks whether it fits on this device, before bytes are spent",
        survives="the same",
    ),
    Row(
        Phase.FETCHING,
        passes=Phase.STAGED,
        fails=Phase.REJECTED,
        cut=Phase.FETCHING,
        yields=True,
        live=False,
        starts=MANY_STARTS,
        deadline="fetch",
        does="fetches each object, checks it, gives it its name",
        survives="whole objects, and the parts that are continued by range and hashed again",
    ),
    Row(
        Phase.STAGED,
        passes=Phase.PREPARE,
        hold=Phase.WAIT_WINDOW,
        fails=Phase.REJECTED,
        cut=Phase.STAGED,
        yields=True,
        live=False,
        starts=MANY_STARTS,
        deadline="step",
        does="looks at the windows and at the application's lock",
        survives="every object of the revision",
    ),
    Row(
        Phase.WAIT_WINDOW,
        passes=Phase.PREPARE,
        fails=Phase.REJECTED,
        cut=Phase.WAIT_WINDOW,
        yields=True,
        live=False,
        starts=MANY_STARTS,
        deadline="window",
        does="waits for the window and for the application's lock",
        survives="every object of the revision",
    ),
    Row(
        Phase.PREPARE,
        passes=Phase.SWAPPING,
        hold=Phase.SHADOW,
        fails=Phase.REJECTED,
        cut=Phase.PREPARE,
        yields=True,
        live=False,
        starts=3,
        deadline="prepare",
        does="builds and loads the engines beside those that serve, runs the golden input",
        survives="every object; a half-built engine is thrown away",
        anew=True,
    ),
    Row(
        Phase.SHADOW,
        passes=Phase.SWAPPING,
        fails=Phase.REJECTED,
        cut=Phase.PREPARE,
        yields=True,
        live=False,
        starts=3,
        deadline="shadow",
        does="shows the candidate some of the live frames and compares; nothing of it goes out",
        survives="every object; the comparison begins anew",
    ),
    Row(
        Phase.SWAPPING,
        passes=Phase.PROBATION,
        fails=Phase.ROLLING_BACK,
        cut=Phase.SWAPPING,
        yields=False,
        live=True,
        starts=3,
        deadline="swap",
        does="switches between two frames, then has `current` name the revision",
        survives="`current`: it names the former revision or this one, and what it names is started",
    ),
    Row(
        Phase.PROBATION,
        passes=Phase.COMMITTED,
        fails=Phase.ROLLING_BACK,
        cut=Phase.PROBATION,
        yields=False,
        live=True,
        starts=3,
        deadline="probation",
        does="runs it for good and holds it against what this device did before",
        survives="`current`, and the number of starts without a commit",
        anew=True,
    ),
    Row(
        Phase.ROLLING_BACK,
        passes=Phase.ROLLED_BACK,
        fails=Phase.ROLLED_BACK,
        cut=Phase.ROLLING_BACK,
        yields=False,
        live=True,
        starts=MANY_STARTS,
        deadline="back",
        does="has `current` name the last committed revision, runs it, quarantines what is new",
        survives="the reason; going back is done again",
        anew=True,
    ),
)

TABLE: dict[Phase, Row] = {row.phase: row for row in ROWS}
FIRST = Phase.OFFERED


class NoSuchArrow(Exception):
    """The event cannot happen in this phase."""


def follow(phase: Phase, event: Event) -> Phase:
    """The phase after the event.

    :raises NoSuchArrow: an ended update has no more events; a detour that the phase does not have; too late to be superseded
    """
    row = TABLE.get(phase)
    if row is None:
        raise NoSuchArrow(f"{event.value} in {phase.value}")
    if event is Event.PASS:
        return row.passes
    if event is Event.HOLD and row.hold is not None:
        return row.hold
    if event in (Event.FAIL, Event.STARTS):
        return row.fails
    if event is Event.CUT:
        return row.cut
    if event in (Event.SUPERSEDE, Event.CANCEL) and row.yields:
        return Phase.REJECTED
    raise NoSuchArrow(f"{event.value} in {phase.value}")


def after_cut(phase: Phase, starts: int, *, live: bool, limit: int | None = None) -> Phase:
    """Where an update goes on that was cut `starts` times in this phase; `live`: `current` names its revision.

    `limit` is the number of starts that the revision itself allows, where the phase's own is not to count.
    """
    if phase in TERMINAL:
        return phase
    row = TABLE[phase]
    if phase in (Phase.SWAPPING, Phase.PROBATION):
        if starts >= (limit or row.starts):
            return follow(phase, Event.STARTS)
        if live:
            return Phase.PROBATION
        return Phase.PREPARE if phase is Phase.SWAPPING else Phase.ROLLING_BACK
    return follow(phase, Event.STARTS if starts >= row.starts else Event.CUT)


def rendered() -> str:
    """The table as Markdown, for the docs."""
    lines = [
        "| phase | what it does | then | else | after a cut | cuts at most | newer or cancelled | deadline | what survives |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        then = row.passes.value + (f", or first {row.hold.value}" if row.hold else "")
        cut = "PROBATION or PREPARE, as `current` says" if row.phase is Phase.SWAPPING else row.cut.value
        lines.append(
            f"| {row.phase.value} | {row.does} | {then} | {row.fails.value} | {cut} | {row.starts} | "
            f"{'REJECTED' if row.yields else 'waits'} | `{row.deadline}` | {row.survives} |"
        )
    return "\n".join(lines) + "\n"
