"""The split of processors between runs with real engines: several requests at once, measured once, kept, found again."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from runtime.model import split
from runtime.model.backends import cpus, open_backend
from runtime.model.backends.backend import RunOptions
from runtime.model.fuse import Form, fused
from runtime.model.package import read
from runtime.model.session import LoadedModel, LoadOptions
from tests.integration.engine_child import engine_child

ENGINES = (
    "onnxruntime-cpu",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed"),
    ),
)
DIGEST = "sha256:" + "d" * 64


@pytest.mark.parametrize("engine", ENGINES)
def test_runs_at_the_same_time_do_not_mix(engine: str, packages: dict[str, Path], tmp_path: Path) -> None:
    directory = packages["nanodet_m_320"]
    graph = fused(directory, read(directory), Form(), tmp_path)
    backend = open_backend(engine, graph, RunOptions(threads=1, runs=2))
    assert backend.runs_at_once == 2
    shape = (1, *read(directory).input.tensor_shape)
    pictures = [np.full(shape, value, np.uint8) for value in (0, 80, 160, 240)]
    expected = [backend.run(picture) for picture in pictures]
    wrong: list[int] = []

    def ask(caller: int) -> None:
        for turn in range(12):
            at = (caller + turn) % len(pictures)
            answer = backend.run(pictures[at])
            if not all(np.array_equal(a, b) for a, b in zip(answer, expected[at], strict=True)):
                wrong.append(at)

    callers = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    backend.close()
    assert wrong == []


def test_a_split_is_measured_once_and_then_kept(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: 2)
    monkeypatch.setattr(split, "UNSTEADY", 1e9)
    options = LoadOptions("onnxruntime-cpu", cache_dir=tmp_path, measure_s=6.0)
    model = LoadedModel(packages["yolox_nano_416"], options)
    assert "splits" not in model.info
    model.arrange()
    tried = model.info["splits"]
    assert set(tried) == {"2 x 1", "2 x 2", "1 x 2"}
    now = (model.info["threads"], model.runs_at_once)
    assert model.check_golden()["present"]
    model.close()
    again = LoadedModel(packages["yolox_nano_416"], options)
    assert again.info["splits"] == tried, "what was measured before is known before anything runs"
    assert (again.info["threads"], again.runs_at_once) == now
    again.close()


def test_a_number_that_a_person_named_is_not_tried(packages: dict[str, Path], tmp_path: Path) -> None:
    options = LoadOptions("onnxruntime-cpu", threads=2, cache_dir=tmp_path, measure_s=3.0)
    model = LoadedModel(packages["nanodet_m_320"], options)
    model.arrange()
    assert "splits" not in model.info
    assert model.info["threads"] == 2
    model.close()


def test_a_kept_split_is_what_a_serving_process_uses(packages: dict[str, Path], tmp_path: Path) -> None:
    if cpus.usable() < 2:
        pytest.skip("one processor: nothing to split")
    directory = packages["yolox_nano_416"]
    options = LoadOptions("onnxruntime-cpu", cache_dir=tmp_path, measure_s=1.0)
    model = LoadedModel(directory, options)
    kept, name = model._book()
    wanted = split.Split(1, 3)
    kept.write(name, "m", split.Choice(wanted, (split.Measured(wanted, (9.0,), 1.0),)))
    model.close()
    with engine_child(
        tmp_path / "engine", {DIGEST: directory}, threads=0, engine="onnxruntime-cpu", cache_dir=str(tmp_path)
    ) as child:
        (up,) = [m for m in child.messages if type(m).__name__ == "EngineUp"]
        (info,) = up.info.values()  # type: ignore[attr-defined]
        assert (info["threads"], info["runs_at_once"]) == (1, 3)
