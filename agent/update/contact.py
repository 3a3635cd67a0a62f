"""The connection to the control plane as a condition: a change that touches it must reach it, or is taken back."""

from __future__ import annotations

from collections.abc import Callable

from agent.update.ground import Go, Refusal, Wait
from wire.desired import Desired
from wire.reasons import Reason


class Contact:
    """`connected` says whether the broker has been reached by what runs now."""

    def __init__(self, connected: Callable[[], bool] = lambda: True) -> None:
        self.connected = connected

    def touched(self, desired: Desired, running: Desired | None) -> bool:
        """Whether the change may cut the device off: another agent, another connection."""
        if running is None:
            return False
        return (desired.agent or running.agent) != running.agent or _connection(desired) != _connection(
            running
        )

    def judge(self, desired: Desired, elapsed_s: float) -> Go | Wait | Refusal:
        """Whether the control plane is reached; refused when it was not for `contact_s`."""
        if self.connected():
            return Go()
        limit_s = desired.settings.update.contact_s
        if elapsed_s <= limit_s:
            return Wait("the control plane is not reached yet")
        return Refusal(
            Reason.CONTACT_LOST,
            f"gate contact: not connected to the control plane for {elapsed_s:.0f} s, at most {limit_s:.0f}",
            gate="contact",
            figure=elapsed_s,
            limit=limit_s,
            suspects=(),
        )


def _connection(desired: Desired) -> object:
    """The part of the settings that says how the control plane is reached."""
    return (desired.settings.model_extra or {}).get("connection")
