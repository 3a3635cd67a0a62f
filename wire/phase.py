"""The phases of an update: one device, one revision. Standard library only, so that the start-up guard can read them."""

from __future__ import annotations

from enum import Enum


class Phase(str, Enum):
    """How far a revision has come; the arrows between are in `agent.update.table`."""

    IDLE = "IDLE"
    OFFERED = "OFFERED"
    VERIFIED = "VERIFIED"
    FETCHING = "FETCHING"
    STAGED = "STAGED"
    WAIT_WINDOW = "WAIT_WINDOW"
    PREPARE = "PREPARE"
    SHADOW = "SHADOW"
    SWAPPING = "SWAPPING"
    PROBATION = "PROBATION"
    COMMITTED = "COMMITTED"
    REJECTED = "REJECTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


TERMINAL = frozenset({Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})
"""Phases that end an update; in any other one it is taken up again after a restart."""
