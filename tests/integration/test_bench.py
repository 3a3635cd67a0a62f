"""`outrider bench` and `python -m runtime.bench`: real engine process, real cameras, a model made here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from outrider.cli import main
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from tests.integration.test_model_eval import rows
from tests.unit.model.graphs import constant_rows
from wire import local
from wire.bench import BenchFigures
from wire.doc import read
from wire.reasons import Reason


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def package(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0)), batch=None)
    options = PackOptions(no_golden=True, labels=["cat", "dog"])
    return pack(source, tmp_path / "m.pkg", options, LoadOptions(cache_dir=tmp_path)).directory


def child(package, *more):
    done = subprocess.run(
        [sys.executable, "-m", "runtime.bench", str(package), "--seconds", "0.2", *more],
        capture_output=True,
        timeout=100,
        check=False,
    )
    result = local.decode(done.stdout.splitlines()[-1])
    assert isinstance(result, local.BenchResult)
    return result


def test_the_command_prints_what_was_measured(package, capsys):
    arguments = ["bench", str(package), "--batch", "1,4", "--cameras", "1,2", "--seconds", "0.2", "--json"]
    assert main(arguments) == 0
    figures = read(BenchFigures, json.loads(capsys.readouterr().out))
    assert [row.batch for row in figures.batches] == [1, 4]
    assert [row.cameras for row in figures.cameras] == [1, 2]
    assert figures.latency_ms.requests > 5
    assert figures.latency_ms.p50 <= figures.latency_ms.p99
    assert figures.memory.rss_bytes > 20_000_000
    assert figures.hardware.name
    assert (figures.energy.joules_per_frame is None) == bool(figures.energy.reason)


def test_people_get_a_table(package, capsys):
    assert main(["bench", str(package), "--batch", "4", "--cameras", "1", "--seconds", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "batch 4" in printed
    assert "1 camera " in printed
    assert "MB resident" in printed


def test_the_child_answers_in_one_line(package):
    result = child(package, "--batches", "1", "--cameras", "1")
    assert result.ok, result.message
    assert read(BenchFigures, result.figures).engine.engine == "onnxruntime"


def test_a_model_that_cannot_serve_is_refused_with_its_reason(package):
    (package / "model.onnx").write_bytes(b"no model")
    result = child(package, "--batches", "1", "--cameras", "1")
    assert not result.ok
    assert Reason(result.reason) in (Reason.MODEL_NOT_ONNX, Reason.MODEL_LOAD_FAILED)
    assert result.message


def test_an_engine_that_is_not_there_is_refused(package):
    result = child(package, "--engine", "openvin")
    assert result.reason == Reason.ENGINE_UNAVAILABLE.value


def test_a_crash_of_the_engine_process_is_told(package, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'runtime.model.process' in sys.orig_argv: os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = child(package, "--batches", "1", "--cameras", "1")
    assert result.reason == Reason.ENGINE_DOWN.value
    assert "status -11" in result.message
