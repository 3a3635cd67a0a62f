"""How one device stands in a rollout, by what is seen of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from fleet.rollout.plan import Patience
from fleet.rollout.state import Member, Seen, Status
from wire.reasons import Reason

TAKEN = frozenset({"COMMITTED", "IDLE"})
FAILED = frozenset({"REJECTED", "ROLLED_BACK"})
SUPERSEDED = Reason.SUPERSEDED.value
TOO_LATE = "device-timeout"
GONE = "device-gone"


def observe(member: Member, seen: Seen | None, patience: Patience, at: float) -> Member:
    """The member as it stands now."""
    if member.status in (Status.OVERTAKEN, Status.PASSED_OVER, Status.RETURNED):
        return member
    if seen is None:
        return _become(member, Status.EXCUSED, at, GONE, "the device is not in the fleet any more")
    if member.told and seen.newest > member.revision > 0 and member.status is not Status.DONE:
        return _become(member, Status.OVERTAKEN, at, message=f"revision {seen.newest} was given to it since")
    if not seen.online:
        return _offline(member, patience, at)
    if member.status is Status.EXCUSED:
        back = Status.RETURNING if member.back else Status.TOLD if member.told else Status.WAITING
        member = _become(replace(member, offline_since=None), back, at)
    elif member.offline_since is not None:
        member = replace(member, offline_since=None, since=at)
    if member.told:
        member = _reported(member, seen, at)
    return _patience(member, patience, at)


def _offline(member: Member, patience: Patience, at: float) -> Member:
    if member.status not in (Status.WAITING, Status.TOLD, Status.RETURNING):
        return member
    since = at if member.offline_since is None else member.offline_since
    member = replace(member, offline_since=since)
    if at - since >= patience.offline_s:
        return _become(member, Status.EXCUSED, at, message="offline")
    return member


def _reported(member: Member, seen: Seen, at: float) -> Member:
    """What the device says of the revision it was told."""
    if member.status is Status.WAITING or member.revision < 0:
        return member
    if seen.revision == member.revision and seen.phase in TAKEN:
        good = Status.RETURNED if member.back else Status.DONE
        if member.back:  # why it went back is what people look for afterwards
            return _become(member, good, at, member.reason, member.message)
        return _become(member, good, at)
    if seen.offered == member.revision and seen.phase in FAILED:
        if seen.reason == SUPERSEDED:
            return _become(member, Status.OVERTAKEN, at, seen.reason, seen.message)
        if member.status is not Status.FAILED:
            return _become(member, Status.FAILED, at, seen.reason, seen.message)
    return member


def _patience(member: Member, patience: Patience, at: float) -> Member:
    waited_s = at - member.since
    if member.status in (Status.TOLD, Status.RETURNING) and waited_s >= patience.device_s:
        return _become(member, Status.FAILED, at, TOO_LATE, f"no end after {waited_s:.0f} s, though online")
    again = member.status is Status.FAILED and not member.back and member.attempts < patience.attempts
    if again and waited_s >= patience.retry_after_s:
        return _become(member, Status.WAITING, at, member.reason, member.message)
    return member


def _become(member: Member, status: Status, at: float, reason: str = "", message: str = "") -> Member:
    if member.status is status:
        return member
    return replace(member, status=status, since=at, reason=reason, message=message)
