from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from agent.backoff import Backoff
from agent.supervise import Keeper, Supervisor
from tests.unit.agent.clocks import ManualClock
from wire import local
from wire.reasons import Reason


class Process:
    """A child in memory: says what is put into `says`; None closes its line."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.says: asyncio.Queue[local.Message | None] = asyncio.Queue()
        self.heard: list[local.Message] = []
        self.gone = asyncio.Event()
        self.killed = False
        self.obeys = True

    def send(self, message: local.Message) -> None:
        self.heard.append(message)
        if isinstance(message, local.Stop) and self.obeys:
            self._go()

    async def messages(self) -> AsyncIterator[local.Message]:
        while (message := await self.says.get()) is not None:
            yield message

    def terminate(self) -> None:
        if self.obeys:
            self._go()

    def kill(self) -> None:
        self.killed = True
        self._go()

    def _go(self) -> None:
        self.gone.set()
        self.says.put_nowait(None)

    async def ended(self) -> int:
        await self.gone.wait()
        return -9 if self.killed else 0

    async def release(self) -> None:
        return


class Launcher:
    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.launched = asyncio.Event()

    async def launch(self, module: str, name: str) -> Process:
        self.processes.append(Process(len(self.processes) + 1))
        self.launched.set()
        return self.processes[-1]

    async def next(self) -> Process:
        self.launched.clear()
        await asyncio.wait_for(self.launched.wait(), 5)
        await asyncio.sleep(0)
        return self.processes[-1]


class Part:
    name = "part"
    module = "none"

    def __init__(self) -> None:
        self.causes: list[Reason] = []
        self.messages: list[local.Message] = []

    def greeting(self) -> local.Message:
        return local.EventsKept(0)

    def received(self, message: local.Message) -> None:
        if isinstance(message, local.Stop):
            raise ZeroDivisionError
        self.messages.append(message)

    def ended(self, cause: Reason) -> None:
        self.causes.append(cause)

    def silence_s(self) -> float:
        return 10.0

    def retry_s(self) -> float | None:
        return None

    def proven(self) -> bool:
        return True


class Stand:
    def __init__(self) -> None:
        self.clock, self.launcher, self.part = ManualClock(), Launcher(), Part()
        self.ticks: list[float] = []
        self.supervisor = Supervisor(self.clock, self.ticks.append)
        backoff = Backoff(0.001, 0.001, lambda: 0.0)
        self.keeper = Keeper(self.part, self.launcher, self.clock, backoff, 0.02)

    async def begin(self) -> Process:
        self.supervisor.add(self.keeper)
        return await self.launcher.next()


def test_a_child_that_ends_is_started_again_and_greeted() -> None:
    async def main() -> None:
        stand = Stand()
        first = await stand.begin()
        assert first.heard == [local.EventsKept(0)]
        first._go()
        second = await stand.launcher.next()
        assert second is not first
        assert stand.part.causes == [Reason.PIPELINE_DOWN]
        assert stand.keeper.restarts == 1
        await stand.supervisor.close()

    asyncio.run(main())


def test_a_silent_child_is_killed_and_one_that_speaks_is_not() -> None:
    async def main() -> None:
        stand = Stand()
        first = await stand.begin()
        stand.clock.advance(9)
        first.says.put_nowait(local.PipelineUp(1))
        await asyncio.sleep(0.01)
        stand.clock.advance(9)
        stand.supervisor.tick(stand.clock.mono())
        assert not first.killed
        stand.clock.advance(2)
        stand.supervisor.tick(stand.clock.mono())
        assert first.killed
        await stand.launcher.next()
        assert stand.part.causes == [Reason.PIPELINE_HUNG]
        await stand.supervisor.close()

    asyncio.run(main())


def test_a_message_that_cannot_be_worked_on_ends_the_child_and_not_the_agent() -> None:
    async def main() -> None:
        stand = Stand()
        first = await stand.begin()
        first.says.put_nowait(local.Stop())
        await stand.launcher.next()
        assert first.killed
        assert stand.part.causes == [Reason.INTERNAL]
        await stand.supervisor.close()

    asyncio.run(main())


def test_a_child_that_does_not_obey_is_killed_at_the_end() -> None:
    async def main() -> None:
        stand = Stand()
        first = await stand.begin()
        first.obeys = False
        await stand.supervisor.remove(stand.keeper)
        assert first.killed
        assert len(stand.launcher.processes) == 1

    asyncio.run(main())


def test_a_tick_is_told_and_remembered() -> None:
    stand = Stand()
    stand.supervisor.tick(5.0)
    assert stand.ticks == [5.0]
    assert stand.supervisor.last_tick_mono == 5.0


def test_a_child_that_cannot_be_started_now_is_started_later() -> None:
    """Out of descriptors, no room for its directory, a defect in its greeting: none of them is for ever."""

    async def main() -> None:
        stand = Stand()
        faults: list[Exception] = [OSError(28, "no room"), ZeroDivisionError(), OSError(24, "too many")]
        real_launch, real_greeting = stand.launcher.launch, stand.part.greeting

        async def launch(module: str, name: str) -> Process:
            if len(faults) == 1:
                raise faults.pop()
            return await real_launch(module, name)

        def greeting() -> local.Message:
            if faults:
                raise faults.pop(0)
            return real_greeting()

        stand.launcher.launch = launch  # type: ignore[method-assign]
        stand.part.greeting = greeting  # type: ignore[method-assign]
        stand.supervisor.add(stand.keeper)
        for _ in range(3):
            await stand.launcher.next()
        await asyncio.sleep(0)
        assert not faults
        assert stand.launcher.processes[-1].heard == [local.EventsKept(0)]
        assert all(process.killed for process in stand.launcher.processes[:-1])
        await stand.supervisor.close()

    asyncio.run(asyncio.wait_for(main(), 10))
