"""What a person may do to a rollout. Pure: each gives the new state, or refuses with what is possible instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fleet.errors import Refused
from fleet.rollout.state import ENDS, Phase, State, Status
from wire.reasons import Reason


def pause(state: State) -> State:
    """Nobody more is told; those who have been go on."""
    _require(state, "paused", Phase.RUNNING, Phase.AWAITING_APPROVAL, Phase.DONE)
    return replace(state, phase=Phase.PAUSED, judged="paused by a person")


def resume(state: State) -> State:
    """Go on without the devices that have failed so far; they may be retried."""
    _require(state, "resumed", Phase.PAUSED)
    known = {
        name: replace(member, status=Status.PASSED_OVER) if member.status is Status.FAILED else member
        for name, member in state.members.items()
    }
    return replace(state, phase=Phase.RUNNING, settled_at=None, judged="", members=known)


def approve(state: State) -> State:
    """Let the wave that waits pass."""
    _require(state, "approved", Phase.AWAITING_APPROVAL)
    return replace(state, phase=Phase.RUNNING, approved=state.wave + 1, judged="")


def abort(state: State) -> State:
    """Nobody more is told, ever. What has been taken stays."""
    if state.phase in (Phase.ABORTED, Phase.ROLLED_BACK):
        raise _refusal(state, "aborted")
    return replace(state, phase=Phase.ABORTED, judged="aborted by a person")


def roll_back(state: State) -> State:
    """Everybody who was told goes back to what they had."""
    if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        raise _refusal(state, "rolled back")
    return replace(state, phase=Phase.ROLLING_BACK, judged="rolled back by a person")


def retry(state: State, devices: Iterable[str], at: float) -> State:
    """Tell failed devices once more."""
    if state.phase in ENDS - {Phase.DONE} or state.phase is Phase.ROLLING_BACK:
        raise _refusal(state, "retried")
    wanted = set(devices)
    members = {
        name: replace(member, status=Status.WAITING, since=at, back=False, revision=max(member.revision, 0))
        if name in wanted and member.status in (Status.FAILED, Status.PASSED_OVER)
        else member
        for name, member in state.members.items()
    }
    if members == state.members:
        raise Refused(Reason.ROLLOUT_STATE, "none of these devices has failed in this rollout")
    return replace(state, members=members)


def _require(state: State, what: str, *phases: Phase) -> None:
    if state.phase not in phases:
        raise _refusal(state, what)


def _refusal(state: State, what: str) -> Refused:
    return Refused(Reason.ROLLOUT_STATE, f"a rollout that is {state.phase.value} cannot be {what}")
