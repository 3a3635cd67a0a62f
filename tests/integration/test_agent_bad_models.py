"""Bad models pushed to a device whose engine processes are real: refused with a reason, and what served goes on serving."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from tests.fakes.agent_rig import Rig, rig, until
from tests.fakes.child import REAL
from tests.fakes.mosquitto import PROGRAM
from tests.integration import test_model_bad_inputs as bad
from tests.integration.test_model_eval import rows
from tests.unit.model.graphs import constant_rows

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")

CRASHING = f"""
import os, signal, sys
def watch(event, arguments):
    if event == "open" and "model.toml" in str(arguments[0]) and os.path.exists(str(arguments[0]).replace("model.toml", "crash")):
        os.kill(os.getpid(), {int(signal.SIGSEGV)})
if "runtime.model.process" in sys.orig_argv:
    sys.addaudithook(watch)
"""
"""Stands for a graph on which a native library crashes: a package with a file `crash` in it."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good package by file."""
    folder = tmp_path_factory.mktemp("good")
    cv2.imwrite(str(folder / "p.png"), np.full((48, 64, 3), 90, np.uint8))
    source = constant_rows(folder / "m.onnx", rows((5, 0.9, 0), (12, 0.8, 1)))
    options = PackOptions(golden=str(folder / "p.png"), labels=["cat", "dog"])
    made = pack(source, folder / "m.pkg", options, LoadOptions(cache_dir=folder)).directory
    return {p.relative_to(made).as_posix(): p.read_bytes() for p in made.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, package: dict[str, bytes]) -> Iterator[Rig]:
    """An agent that serves the good package."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(CRASHING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REAL, "runtime.model.process")
        patch.setenv("PYTHONPATH", str(folder / "site"))
        with rig(folder) as made:
            made.start()
            made.push(1, **made.one_camera(made.plane.add_model(package), made.plane.add_workflow({})))
            made.observer.reported("COMMITTED", 1, 60.0)
            yield made


def edited(package: dict[str, bytes], change: Callable[[Any], object]) -> dict[str, bytes]:
    model = onnx.load_model_from_string(package["model.onnx"])
    change(model)
    return {**package, "model.onnx": model.SerializeToString()}


BAD: dict[str, tuple[str, Callable[[dict[str, bytes]], dict[str, bytes]]]] = {
    "truncated": ("model-not-onnx", lambda p: {**p, "model.onnx": p["model.onnx"][:-200]}),
    "operator": ("model-operator", lambda p: edited(p, bad.unknown_operator)),
    "opset": (
        "model-opset",
        lambda p: edited(p, lambda model: setattr(model.opset_import[0], "version", 999)),
    ),
    "weights": ("model-weights", lambda p: edited(p, bad.outside("gone.data"))),
    "gigapixels": ("model-inputs", lambda p: edited(p, bad.gigapixels)),
    "nan": ("model-nan", lambda p: edited(p, bad.poison)),
    "labels": ("model-labels", lambda p: {**p, "labels.txt": b"cat\ndog\nbird\n"}),
    "golden": ("golden-mismatch", lambda p: edited(p, lambda model: bad.poison(model, 0.4))),
    "crash": ("engine-down", lambda p: {**p, "crash": b"here"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_refused_and_the_old_one_goes_on_serving(
    name: str, serving: Rig, package: dict[str, bytes]
) -> None:
    reason, spoil = BAD[name]
    revision = 2 + list(BAD).index(name)
    engine = serving.children("runtime.model.process")
    digest = serving.plane.add_model(spoil(package))
    serving.push(revision, **serving.one_camera(digest, serving.plane.add_workflow({})))
    reported = serving.observer.reported("REJECTED", revision, 60.0)
    assert (reported["revision"], reported["reason"]) == (1, reason)
    assert reported["message"]
    assert until(lambda: serving.children("runtime.model.process") == engine), "the same process serves"
    status = serving.status()
    assert status["health"]["cameras"]["door"]["state"] == "streaming"
    assert status["health"]["models"]["m"]["state"] == "ok"
    half = [p.name for p in serving.state_dir.rglob("*") if p.name.endswith(".part") or "partial" in p.name]
    assert half == []
