"""What leaves a device for whoever looks into a fault: much, and no secret, whoever packs it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from agent.evidence import masked, on_disk, packed
from agent.update.journal import Document, Journal
from agent.update.recorder import Recorder
from tests.unit.agent.clocks import ManualClock

HUSH = "Zk7-planted"


def opened(content: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]


def test_no_secret_leaves_in_whatever_field_or_text_it_stands() -> None:
    parts: dict[str, Any] = {
        "log.txt": f"opened rtsp://admin:{HUSH}@10.0.0.7/main, then {HUSH}",
        "running.json": {
            "secrets": {"door": HUSH},
            "cameras": [{"source": "rtsp://secret:door@h/x"}],
            "pin": f"x{HUSH}",
        },
        "agent.json": {
            "http_token": HUSH,
            "token": 1234,
            "keyframes_only": False,
            "nested": {"api_key": [HUSH, 7]},
        },
    }
    files = opened(packed(parts, [HUSH, ""], 5.0))
    assert set(files) == set(parts)
    assert HUSH not in "".join(files.values())
    assert json.loads(files["agent.json"]) == {
        "http_token": "***", "token": "***", "keyframes_only": False, "nested": {"api_key": ["***", "***"]},
    }  # fmt: skip
    assert "10.0.0.7/main" in files["log.txt"]


def test_what_is_not_said_stays_readable() -> None:
    assert masked({"revision": 3, "message": "text", "token": ""}) == {
        "revision": 3,
        "message": "text",
        "token": "",
    }


def test_what_is_on_disk_is_told_without_an_agent_and_from_a_broken_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.accept(Document(1, b'{"revision": 1, "secrets": {"door": "sealed"}}'), 1.0)
    journal.point(1)
    journal.commit(1, 1.0)
    journal.close()
    Recorder(tmp_path / "recorder", ManualClock()).decided("update", {"revision": 1})
    found = on_disk(tmp_path)
    assert [entry["revision"] for entry in found["recorder.json"]] == [1]
    assert found["updates.json"]["revisions"][0]["phase"] == "COMMITTED"
    assert masked(found)["updates.json"]["current"]["secrets"] == {"door": "***"}
    (tmp_path / "journal.db").write_bytes(b"no SQLite at all" * 100)
    assert "failed" in on_disk(tmp_path)["updates.json"]
