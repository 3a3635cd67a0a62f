"""A visitor at a real network camera becomes an event whose clip arrives at the control plane, over HTTPS and never over MQTT."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from outrider.demo.stage import Stage
from tests.e2e.conftest import wait_until
from tests.e2e.listener import Listener
from tests.faults.camera_yard import Server, programmes, why_not
from tests.integration.test_clips import CLIPS, LEFT_HALF, brightness


def test_an_events_clip_arrives_at_the_control_plane(bare_stage: Stage, assets: Path, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    stage = bare_stage
    server = Server(programmes(assets / "video" / "one-by-one-person-detection.mp4", tmp_path))
    server.start()
    listener = Listener(stage.plane["broker_host"], stage.plane["broker_port"]).start()
    try:
        camera: dict[str, Any] = {"source": server.url("a"), "clips": CLIPS}
        revision = stage.push(
            {
                "cameras": {"gate": {**camera, "privacy": {"pictures": "fleet", "masks": [LEFT_HALF]}}},
                "workflows": {"w": {"workflow": "tell"}},
                "pipelines": {"gate": {"camera": "gate", "workflow": "w", "events": {"send": "none"}}},
                "settings": {"health_s": 1},
            }
        )
        assert stage.await_outcome(revision)["phase"] == "COMMITTED"
        event = wait_until(lambda: stage.api.events(stage.device)[0], "the event")[0]
        clip_id = event["data"]["clip"]
        clips = wait_until(lambda: stage.api.clips(stage.device), "the clip")
        assert [(clip["id"], clip["camera"]) for clip in clips] == [(clip_id, "gate")]
        path = tmp_path / "seen.webm"
        path.write_bytes(stage.api.clip(stage.device, clip_id))
        probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", str(path)]
        assert subprocess.run(probe, capture_output=True, text=True).stdout.strip() == "vp8"
        left, right = brightness(path)
        assert left < 20 < right
        # By command, some seconds later: as long as was asked for.
        wait_until(lambda: stage.cameras()["gate"]["results"] > 40, "frames")
        answer = stage.api.command(stage.device, "clip", {"camera": "gate", "seconds": 3})
        assert answer["ok"], answer
        asked = wait_until(
            lambda: [c for c in stage.api.clips(stage.device) if c["id"] == answer["result"]["clip"]], "it"
        )[0]
        assert 1.0 < asked["to_wall"] - asked["from_wall"] < 4.0
        assert max(len(json.dumps(heard.envelope)) for heard in listener.heard) < 32768
    finally:
        listener.stop()
        server.kill()
