"""A revision that does not fit is refused before a byte of its weights is fetched, through a real broker and a real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.agent_rig import rig
from tests.fakes.mosquitto import PROGRAM
from wire.manifest import FileEntry, Manifest, Needs

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.mark.timeout(120)
def test_what_does_not_fit_is_told_with_figure_and_limit_and_nothing_of_it_is_fetched(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        workflow = made.plane.add_workflow({})
        good = made.plane.add_model({"model.toml": b"a"})
        weights = made.plane.add(b"weights")
        entries = (FileEntry(path="model.onnx", sha256=weights, size=7),)
        needs = Needs(memory_bytes=1 << 50, engines=("no-such-engine",))
        large = made.plane.add(Manifest(files=entries, needs=needs).encode())
        made.start()
        made.push(1, **made.one_camera(good, workflow))
        made.observer.reported("COMMITTED", 1)
        made.push(2, **made.one_camera(large, workflow))
        reported = made.observer.reported("REJECTED", 2)
        reasons = {problem["reason"]: problem["message"] for problem in reported["problems"]}
        assert set(reasons) == {"engine-unavailable", "out-of-memory"}
        assert "1073741824 MiB" in reasons["out-of-memory"]
        assert "no-such-engine" in reasons["engine-unavailable"]
        assert reported["revision"] == 1
        asked = [path for path, _ in made.plane.requests]
        assert any(path.endswith(large) for path in asked)
        assert not any(path.endswith(weights) for path in asked)
