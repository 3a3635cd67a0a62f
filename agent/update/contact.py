"""The connection to the control plane as a condition: a change that touches it must reach it, or is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Flag, auto

from agent.update.ground import Go, Refusal, Wait
from wire.desired import Desired, Release
from wire.reach import Reach
from wire.reasons import Reason

HTTPS_S = 10.0
AGAIN_S = 0.5


class Touch(Flag):
    """What of the connection a change touches."""

    NOTHING = 0
    AGENT = auto()
    BROKER = auto()
    HTTPS = auto()


async def _always() -> bool:
    return True


class Contact:
    """`connected` says whether what runs now has reached the control plane in any way, `by_mqtt` whether by its broker, `by_https` asks it.

    For the loop's thread.
    """

    def __init__(self, connected: Callable[[], bool] = lambda: True) -> None:
        self.connected = connected
        self.by_mqtt: Callable[[], bool] = lambda: True
        self.by_https: Callable[[], Awaitable[bool]] = _always
        self._touch = Touch.NOTHING
        self._asking: asyncio.Task[bool] | None = None
        self._answered = False

    def begin(self, touch: Touch, *, anew: bool = True) -> None:
        """A change is next, or is taken up after a restart. Where the broker is not reached before, it need not be afterwards, any
        contact will do; after a restart nobody knows."""
        if anew and touch & Touch.BROKER and not self.by_mqtt():
            touch = touch & ~Touch.BROKER | Touch.AGENT
        self._touch, self._answered = touch, False
        self._end()

    def end(self) -> None:
        """Nothing is judged any more."""
        self.begin(Touch.NOTHING)

    def judge(self, desired: Desired, elapsed_s: float) -> Go | Wait | Refusal:
        """Whether the control plane is reached by what was touched; refused when it was not for `contact_s`."""
        lacking = self._lacking()
        if not lacking:
            return Go()
        limit_s = desired.settings.update.contact_s
        if elapsed_s <= limit_s:
            return Wait(f"the control plane is not reached yet: {lacking}")
        return Refusal(
            Reason.CONTACT_LOST,
            f"gate contact: the control plane was not reached for {elapsed_s:.0f} s, at most {limit_s:.0f}: {lacking}",
            gate="contact",
            figure=elapsed_s,
            limit=limit_s,
            suspects=(),
        )

    def _lacking(self) -> str:
        if self._touch & Touch.BROKER and not self.by_mqtt():
            return "its broker does not answer"
        if self._touch & Touch.HTTPS and not self._has_answered():
            return "it does not answer over HTTPS"
        if self._touch and not self.connected():
            return "not connected"
        return ""

    def _has_answered(self) -> bool:
        if self._asking is not None and self._asking.done():
            done, self._asking = self._asking, None
            self._answered = not done.cancelled() and done.exception() is None and done.result()
        if not self._answered and self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._answered

    async def _ask(self) -> bool:
        try:
            if await asyncio.wait_for(self.by_https(), HTTPS_S):
                return True
        except asyncio.TimeoutError:
            pass
        await asyncio.sleep(AGAIN_S)
        return False

    def _end(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None


def touched(desired: Desired, running: Desired | None) -> Touch:
    """Whether the change may cut the device off: another agent, another way to the control plane. Pure."""
    if running is None:
        return Touch.NOTHING
    touch = Touch.NOTHING
    if desired.agent is not None and _named(desired.agent) != _named(running.agent):
        touch |= Touch.AGENT
    one, other = desired.settings.connection or Reach(), running.settings.connection or Reach()
    if (one.broker_host, one.broker_port, one.websocket, one.proxy) != (
        other.broker_host,
        other.broker_port,
        other.websocket,
        other.proxy,
    ):
        touch |= Touch.BROKER
    if (one.url, one.proxy) != (other.url, other.proxy):
        touch |= Touch.HTTPS
    return touch


def _named(release: Release | None) -> str:
    return (release.digest or "") if release else ""
