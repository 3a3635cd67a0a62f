"""What a rollout does next. Pure: from the plan, how far it has come and what is seen now, to the new state and what is to be told.

Whatever is seen in whatever order: no wave reaches more devices than it may, nobody is told past a failed gate, and with time it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fleet.rollout import gates
from fleet.rollout.gates import Opinion, Verdict
from fleet.rollout.members import observe
from fleet.rollout.plan import OnFailure, Plan, Wave
from fleet.rollout.state import ENDS, Figures, Member, Phase, Seen, State, Status

RATE_S = 60.0


@dataclass(frozen=True)
class Tell:
    """Give the device a desired state with the change."""

    device: str


@dataclass(frozen=True)
class GoBack:
    """Give the device what it had before."""

    device: str


@dataclass(frozen=True)
class World:
    """What is seen at `at` (wall clock). `matching` are the devices of the selector; `open`: the window for telling is."""

    at: float
    seen: Mapping[str, Seen]
    matching: frozenset[str] = frozenset()
    figures: Mapping[str, Figures] = field(default_factory=dict)
    open: bool = True


@dataclass(frozen=True)
class Decision:
    state: State
    actions: tuple[Tell | GoBack, ...] = ()


def begin(devices: Iterable[str], at: float) -> State:
    """A rollout to these devices, at its start."""
    return State(since=at, members={device: Member(device, since=at) for device in devices})


def decide(plan: Plan, state: State, world: World) -> Decision:
    """One tick."""
    if state.phase in (Phase.ABORTED, Phase.ROLLED_BACK):
        return Decision(state)
    state = _joined(plan, state, world)
    members = {
        name: observe(member, world.seen.get(name), plan.patience, world.at)
        for name, member in state.members.items()
    }
    state = replace(state, members=members)
    if state.phase is Phase.ROLLING_BACK:
        return _go_back(plan, state)
    if world.at - state.since >= plan.deadline_s:
        return Decision(_late(state))
    if state.phase in (Phase.PAUSED, Phase.AWAITING_APPROVAL):
        return Decision(state)
    return _go_on(plan, state, world)


def reach(plan: Plan, state: State) -> int:
    """How many devices the waves begun so far may reach, of those that count."""
    return plan.waves[state.wave].limit(sum(member.counted for member in state.members.values()))


def order(plan: Plan, devices: Iterable[str]) -> list[str]:
    """Canaries first, then an order that looks like chance and is always the same."""
    canaries = {device: place for place, device in enumerate(plan.first)}

    def key(device: str) -> tuple[int, bytes]:
        return canaries.get(device, len(canaries)), hashlib.sha256(f"{plan.name}/{device}".encode()).digest()

    return sorted(devices, key=key)


def _joined(plan: Plan, state: State, world: World) -> State:
    fresh = world.matching - state.members.keys() if plan.dynamic else frozenset()
    if not fresh:
        return state
    late = {device: Member(device, since=world.at) for device in sorted(fresh)}
    return replace(state, members={**state.members, **late})


def _late(state: State) -> State:
    if state.phase is Phase.DONE:
        return state
    return replace(state, phase=Phase.ABORTED, judged="its deadline is over")


def _go_on(plan: Plan, state: State, world: World) -> Decision:
    wave = plan.waves[state.wave]
    most = reach(plan, state)
    verdict = gates.failures(state, wave.gates, most)
    if verdict.opinion is Opinion.FAIL:
        return Decision(_stopped(plan, state, verdict))
    tells = _tells(plan, state, world, most)
    if state.phase is Phase.DONE:
        return Decision(state, tells)
    if tells or not _settled(state, most):
        return Decision(replace(state, settled_at=None, judged=_progress(state, most)), tells)
    settled_at = world.at if state.settled_at is None else state.settled_at
    state = replace(state, settled_at=settled_at)
    verdict = gates.end_of_wave(state, wave.gates, world.figures, most, world.at - settled_at)
    return Decision(_judged(plan, state, wave, verdict, world.at))


def _judged(plan: Plan, state: State, wave: Wave, verdict: Verdict, at: float) -> State:
    if verdict.opinion is Opinion.FAIL:
        return _stopped(plan, state, verdict)
    if verdict.opinion is Opinion.WAIT:
        return replace(state, judged=verdict.words)
    if wave.gates.approval and state.approved <= state.wave:
        return replace(
            state, phase=Phase.AWAITING_APPROVAL, judged=f"wave {state.wave + 1} waits for approval"
        )
    if state.wave + 1 == len(plan.waves):
        return replace(state, phase=Phase.DONE, judged="")
    return replace(state, wave=state.wave + 1, settled_at=None, judged="")


def _stopped(plan: Plan, state: State, verdict: Verdict) -> State:
    back = plan.on_failure is OnFailure.ROLL_BACK and state.phase is not Phase.DONE
    return replace(state, phase=Phase.ROLLING_BACK if back else Phase.PAUSED, judged=verdict.words)


def _progress(state: State, most: int) -> str:
    ended = state.count(Status.DONE, Status.FAILED)
    return f"{ended} of {most} devices of wave {state.wave + 1} have come to an end"


def _settled(state: State, most: int) -> bool:
    """Nobody is under way, and nobody whom the wave may still reach waits."""
    if state.count(Status.TOLD):
        return False
    return _reached(state) >= most or not state.count(Status.WAITING)


def _reached(state: State) -> int:
    return sum(member.told and member.counted for member in state.members.values())


def _tells(plan: Plan, state: State, world: World, most: int) -> tuple[Tell, ...]:
    """Whom to tell now: as many as wave, pace and window allow."""
    if not world.open:
        return ()
    room = plan.pace.concurrent - state.count(Status.TOLD)
    if plan.pace.per_minute:
        lately = sum(
            member.told_at is not None and world.at - member.told_at < RATE_S
            for member in state.members.values()
        )
        room = min(room, max(1, int(plan.pace.per_minute)) - lately)
    if room <= 0:
        return ()
    waiting = [
        name
        for name, member in state.members.items()
        if member.status is Status.WAITING and (seen := world.seen.get(name)) is not None and seen.online
    ]
    unreached = most - _reached(state)
    chosen: list[Tell] = []
    for name in order(plan, waiting):
        if len(chosen) == room:
            break
        if not state.members[name].told:
            if unreached <= 0:
                continue
            unreached -= 1
        chosen.append(Tell(name))
    return tuple(chosen)


def _go_back(plan: Plan, state: State) -> Decision:
    """Everybody who was told and has not been overtaken, however far they came; an end once nobody is on the way."""
    wrong = [
        name
        for name, member in state.members.items()
        if member.told and not member.back and member.status is not Status.OVERTAKEN
    ]
    room = max(0, plan.pace.concurrent - state.count(Status.RETURNING))
    actions = tuple(GoBack(name) for name in order(plan, wrong)[:room])
    if not wrong and not state.count(Status.RETURNING):
        return Decision(replace(state, phase=Phase.ROLLED_BACK))
    return Decision(state, actions)


# --- what has been done -----------------------------------------------------------------------------------------------


def member_told(member: Member, revision: int, former: int, at: float) -> Member:
    """The device has its new desired state."""
    return replace(
        member,
        status=Status.TOLD,
        since=at,
        told_at=at,
        attempts=member.attempts + 1,
        revision=revision,
        former=member.former or former,
        reason="",
        message="",
    )


def member_sent_back(member: Member, revision: int, at: float) -> Member:
    """The device has its former desired state, as a new revision."""
    return replace(member, status=Status.RETURNING, since=at, revision=revision, back=True)


def member_refused(member: Member, reason: str, message: str, at: float) -> Member:
    """The device could not be told: its desired state does not take the change. It counts as one that failed."""
    return replace(
        member,
        status=Status.FAILED,
        since=at,
        attempts=member.attempts + 1,
        revision=member.revision or -1,
        back=True,
        reason=reason,
        message=message,
    )


def ended(state: State) -> bool:
    """Whether nothing more happens, late devices apart."""
    return state.phase in ENDS
