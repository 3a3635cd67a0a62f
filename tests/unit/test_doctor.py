"""The doctor's findings, where the machine is made to lack something."""

from __future__ import annotations

import importlib.util
import json

import pytest

from outrider.cli import main
from outrider.commands import doctor
from runtime import doctor as doctor_engines
from runtime.model.backends.cuda.driver import Gpu


def test_every_finding_has_a_known_state_and_a_remedy_where_it_is_not_ok(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {finding["what"] for finding in findings} >= {
        "machine",
        "onnxruntime",
        "NVIDIA GPU",
        "onnxruntime CUDA",
        "TensorRT",
        "TensorRT-RTX",
        "OpenVINO",
        "mosquitto",
    }
    assert {finding["state"] for finding in findings} <= {"ok", "warning", "fault"}


def test_a_missing_onnxruntime_is_a_fault_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    finding = doctor_engines.onnxruntime()
    assert finding.state == "fault"
    assert "pip install" in finding.remedy


def test_a_gpu_without_code_in_the_wheel_is_sent_to_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "cuda_version", "12.4", raising=False)
    orin = Gpu("Orin", 87, 12060, True, 1 << 34)
    assert doctor_engines.onnxruntime_cuda(orin).remedy == "use the engine tensorrt on this GPU"
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    assert doctor_engines.onnxruntime_cuda(orin).state == "fault"


def test_every_engine_that_cannot_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    findings = list(doctor_engines.examine())
    assert all(finding.remedy for finding in findings if finding.state != "ok")
    assert {finding.state for finding in findings} <= {"ok", "warning", "fault"}


def test_a_missing_mosquitto_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda *_, **__: None)
    assert next(doctor.programs()).state == "warning"


def test_a_camera_without_permission_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.Path, "glob", lambda *_: iter([doctor.Path("/dev/video0")]))
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert "group video" in doctor.cameras().remedy


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dcotor"]) == 2
    assert "dcotor" in capsys.readouterr().err
