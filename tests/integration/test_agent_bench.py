"""The command `bench` of the agent: which model, one at a time, and what becomes of a child that fails. Children are tiny programs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agent.bench import Bench
from agent.errors import AgentError
from agent.store import Store
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from tests.fakes.agent_rig import BASE, rig
from tests.fakes.mosquitto import PROGRAM
from tests.integration.test_model_eval import rows
from tests.unit.model.graphs import constant_rows
from wire import command, local
from wire.bench import BenchFigures
from wire.desired import Desired
from wire.doc import read
from wire.reasons import Reason

DIGEST = "sha256:" + "a" * 64
ANSWERS = f"import sys; sys.stdout.buffer.write({local.encode(local.BenchResult(True, figures={'x': 1}))!r})"
REFUSES = (
    f"import sys; sys.stdout.buffer.write({local.encode(local.BenchResult(False, 'model-nan', 'it is'))!r})"
)
CRASHES = "import os; os.abort()"
HANGS = "import time; time.sleep(60)"


def bench(tmp_path: Path, program: str = ANSWERS) -> Bench:
    store = Store(tmp_path)
    store.model_path(DIGEST).mkdir(exist_ok=True)
    running = Desired.model_validate(
        {"device": "d", "revision": 1, "issued_at": 1.0, "models": {"cap": {"digest": DIGEST}}}
    )
    return Bench(lambda: running, store, tmp_path, tmp_path, (sys.executable, "-c", program))


def reason_of(bench: Bench, **arguments: object) -> Reason:
    with pytest.raises(AgentError) as refused:
        asyncio.run(bench.run(arguments))
    return refused.value.reason


def test_the_figures_are_the_answer(tmp_path: Path) -> None:
    assert asyncio.run(bench(tmp_path).run({"model": "cap"})) == {"x": 1}


def test_a_model_may_be_named_by_its_digest(tmp_path: Path) -> None:
    assert asyncio.run(bench(tmp_path).run({"model": DIGEST})) == {"x": 1}


@pytest.mark.parametrize("name", ["cup", "sha256:" + "b" * 64, "../../etc"])
def test_a_model_the_device_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    assert reason_of(bench(tmp_path), model=name) is Reason.UNKNOWN_REFERENCE


def test_arguments_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    assert reason_of(bench(tmp_path), model="cap", seconds=1e9) is Reason.INVALID_FIELD


def test_the_childs_own_reason_is_told(tmp_path: Path) -> None:
    assert reason_of(bench(tmp_path, REFUSES), model="cap") is Reason.MODEL_NAN


def test_a_crash_is_told(tmp_path: Path) -> None:
    assert reason_of(bench(tmp_path, CRASHES), model="cap") is Reason.BENCH_FAILED


def test_one_that_takes_too_long_is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    leaving = f"import tempfile; tempfile.mkdtemp(); {HANGS}"
    assert reason_of(bench(tmp_path, leaving), model="cap", deadline_s=5.0) is Reason.BENCH_FAILED
    assert list(tmp_path.glob("bench-*")) == []


def test_a_second_one_waits_its_turn(tmp_path: Path) -> None:
    slow = bench(tmp_path, HANGS)

    async def both() -> AgentError | None:
        first = asyncio.create_task(slow.run({"model": "cap"}))
        await asyncio.sleep(0)
        second = await asyncio.gather(slow.run({"model": "cap"}), return_exceptions=True)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return second[0] if isinstance(second[0], AgentError) else None

    refused = asyncio.run(both())
    assert refused is not None
    assert refused.reason is Reason.BENCH_RUNNING


# --- through the broker, with a real package --------------------------------------------------------------------------


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_a_device_measures_a_model_beside_what_it_serves(tmp_path: Path) -> None:
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0)))
    options = PackOptions(no_golden=True, labels=["cat", "dog"])
    package = pack(source, tmp_path / "m.pkg", options, LoadOptions(cache_dir=tmp_path)).directory
    files = {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
    (tmp_path / "rig").mkdir()
    with rig(tmp_path / "rig") as made:
        made.start()
        digest = made.plane.add_model(files)
        made.push(1, **made.one_camera(digest, made.plane.add_workflow({})))
        made.observer.reported("COMMITTED", 1)
        order = {"model": "m", "batches": [1], "cameras": [1], "seconds": 0.2}
        request = command.Command(
            device="d1", name="bench", rid="b1", issued_at=1.0, expires_at=4e9, arguments=order
        )
        made.observer.publish(f"{BASE}/cmd/bench", command.sign(request, made.plane.key), retain=False)
        (answer,) = made.observer.wait(lambda: made.observer.of("rsp"), 60.0)
        assert answer["ok"], answer
        figures = read(BenchFigures, answer["result"])
        assert figures.digest == digest
        assert figures.latency_ms.requests > 5
        assert made.status()["health"]["cameras"]["door"]["state"] == "streaming"
