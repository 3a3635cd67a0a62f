"""A second engine looks at a running camera's pictures: real engines, a real pipeline, a real video."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scene
from benchmarks.rig import Rig
from runtime.model.package import digest
from wire import local

FRAMES = 12


@pytest.mark.timeout(120)
def test_two_detectors_are_compared_and_no_frame_is_lost(packages: dict[str, Path]) -> None:
    names = list(packages)
    packed = [
        scene.Package(name, packages[name], digest(packages[name]), packages[name] / "model.onnx")
        for name in names
    ]
    last: list[local.Compared] = []
    stats: list[local.PipelineStats] = []

    def note(message: local.Message, _at_mono: float) -> None:
        if isinstance(message, local.Compared):
            last.append(message)
        if isinstance(message, local.PipelineStats):
            stats.append(message)

    with Rig() as rig:
        sockets = {}
        for package in packed:
            engine, sockets[package.name] = rig.engine(package.name, package.digest, package.directory)
            rig.await_message(engine, local.EngineUp)
        first, second = packed
        pipeline = rig.pipeline(
            scene.camera("realtime", loop=True), scene.binding(first, sockets[first.name], send="none"), note
        )
        for _ in rig.until(60.0):
            if stats and stats[-1].results > 10:
                break
        models = {scene.MODEL_ID: local.ModelBinding(second.name, second.digest, sockets[second.name])}
        pipeline.send(local.Compare("t1", models, per_s=5.0, frames=FRAMES))
        for _ in rig.until(60.0):
            if last and last[-1].done:
                break
        assert last[-1].done
        assert [message.done for message in last].count(True) == 1
        likeness = last[-1].models[scene.MODEL_ID]
        assert likeness.compared == FRAMES
        assert likeness.task == "detection"
        assert likeness.unanswered == {}
        assert likeness.live_objects == sum(likeness.live_scores)
        assert likeness.round_trip_ms > 0

        gone = {scene.MODEL_ID: local.ModelBinding("x", "sha256:" + "0" * 64, sockets[second.name] + "x")}
        pipeline.send(local.Compare("t2", gone, per_s=5.0, for_s=2.0))
        for _ in rig.until(60.0):
            if last[-1].ticket == "t2" and last[-1].done:
                break
        assert last[-1].models == {}
        assert last[-1].trouble
        assert stats[-1].no_answer == {}
        assert stats[-1].sight is not None
        assert stats[-1].sight.asked == stats[-1].results
