"""Tests of a real NVIDIA GPU: skipped, with the reason, where there is none. At the end a report that can be sent in."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ModelRefused
from runtime.model.backends.cuda import driver

HERE = Path(__file__).parent
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
FIGURES = pytest.StashKey[dict[str, Any]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def gpu() -> driver.Gpu:
    try:
        return driver.ask()
    except ModelRefused as e:
        pytest.skip(f"no NVIDIA GPU: {e}")


@pytest.fixture(params=["onnxruntime-cuda", "tensorrt", "tensorrt-rtx"])
def engine(request: pytest.FixtureRequest, gpu: driver.Gpu) -> str:
    """Each GPU engine that is installed."""
    name = str(request.param)
    if name == "onnxruntime-cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("the installed ONNX Runtime has no CUDA; install the extra 'gpu'")
    elif find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> dict[str, Any]:
    """What the report will tell, by name."""
    return pytestconfig.stash.setdefault(FIGURES, {})


@pytest.fixture(scope="session", autouse=True)
def machine(pytestconfig: pytest.Config) -> Iterator[None]:
    yield
    found = pytestconfig.stash.get(FIGURES, {})
    if found:
        found["machine"] = {"arch": platform.machine(), "python": platform.python_version()}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, None)
    if not figures:
        return
    outcomes = {
        kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")
    }
    report = {"gpu": asdict(driver.ask()), "outcomes": outcomes, **figures}
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = report["gpu"]["name"].lower().replace(" ", "-").replace("/", "-")
    path = RESULTS / f"gpu-{name}-{time.strftime('%Y%m%d')}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    terminalreporter.write_sep("=", "report, to be sent in")
    terminalreporter.write_line(json.dumps(report, indent=1))
    terminalreporter.write_line(f"written to {path}")
