"""A GPU error that spoils the engine process: the process says so and ends itself, and the agent starts a new one that serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from agent.backoff import Backoff
from agent.child import ModuleLauncher
from agent.clock import SystemClock
from agent.config import Limits
from agent.engines import EngineUnit
from agent.reconcile import EngineSpec
from agent.supervise import Keeper, Supervisor
from runtime.model.attachment import AttachedEngine
from runtime.model.process import SPOILED_STATUS
from runtime.results import Answer, NoAnswer, Result
from tests.fakes.gpu_process import ENGINE, RUNS
from tests.integration.engine_child import EngineChild
from wire import local
from wire.desired import EngineOptions
from wire.reasons import Reason

DIGEST = "sha256:" + "c" * 64
WAIT_S = 60.0
MODULE = "tests.fakes.gpu_process"


@pytest.fixture
def package(packages: dict[str, Path]) -> Path:
    return packages["yolox_nano_416"]


def ask_until_no_answer(path: Path) -> tuple[int, NoAnswer]:
    """How many frames were answered before the first that was not, and why that one was not."""
    engine = AttachedEngine(str(path), DIGEST, slots=2)
    try:
        assert engine.connect(WAIT_S), engine.problem
        image = np.full((60, 80, 3), 90, np.uint8)
        for count in range(2 * RUNS):
            answer: Answer = engine.submit([image]).wait(WAIT_S)[0]
            if isinstance(answer, NoAnswer):
                return count, answer
            assert isinstance(answer, Result)
    finally:
        engine.close()
    raise AssertionError("the GPU did not go astray")


def test_the_process_says_why_and_ends_itself(package: Path, tmp_path: Path) -> None:
    child = EngineChild(
        tmp_path / "engine", {DIGEST: package}, module=MODULE, engine=ENGINE, cache_dir=str(tmp_path)
    )
    try:
        child.expect(local.EngineUp)
        answered, refusal = ask_until_no_answer(tmp_path / "engine")
        assert answered > 0
        assert refusal.reason is Reason.GPU_FAULT
        said = child.expect(local.EngineRefused)
        assert (said.reason, said.transient) == (Reason.GPU_FAULT.value, True)
        assert "no more" in said.message
        assert child.process.wait(20) == SPOILED_STATUS
    finally:
        child.kill()


class FragileUnit(EngineUnit):
    module = MODULE


def test_the_agent_names_the_fault_and_starts_a_process_that_serves(package: Path, tmp_path: Path) -> None:
    asyncio.run(_restarted(package, tmp_path))


async def _restarted(package: Path, folder: Path) -> None:
    spec = EngineSpec("e", (DIGEST,), EngineOptions(engine=ENGINE, threads=1))
    unit = FragileUnit(spec, str, lambda digest: package, folder / "engine", folder, Limits())
    seen: list[tuple[str, Reason | None]] = []
    failed = asyncio.Event()

    def changed() -> None:
        seen.append((unit.state, unit.reason))
        if unit.state != "ok":
            failed.set()

    unit.on_change = changed
    supervisor = Supervisor(SystemClock(), lambda at_mono: None)
    keeper = Keeper(unit, ModuleLauncher(), SystemClock(), Backoff(0.05, 0.2, lambda: 0.0), 2.0)
    supervisor.add(keeper)
    try:
        for _ in range(2):
            await asyncio.wait_for(unit.until_up(), WAIT_S)
            failed.clear()
            answered, refusal = await asyncio.to_thread(ask_until_no_answer, unit.socket)
            assert answered > 0
            assert refusal.reason is Reason.GPU_FAULT
            await asyncio.wait_for(failed.wait(), WAIT_S)
        assert ("failed", Reason.GPU_FAULT) in seen
        assert ("failed", Reason.ENGINE_DOWN) not in seen
        assert keeper.restarts >= 1
    finally:
        await supervisor.close()
