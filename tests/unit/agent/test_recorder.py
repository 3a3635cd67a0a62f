"""The flight recorder: bounded, read back across a restart, cheap, and no trouble where the disk is."""

from __future__ import annotations

from pathlib import Path

from agent.update.recorder import Recorder, entries
from tests.unit.agent.clocks import ManualClock


def test_the_ring_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "ring", ManualClock(), segment_bytes=2000, segments=3)
    for n in range(500):
        recorder.decided("phase", {"n": n})
    kept = [entry["n"] for entry in recorder.read()]
    assert kept == list(range(kept[0], 500))
    assert 50 < len(kept) < 150
    assert sum(path.stat().st_size for path in (tmp_path / "ring").iterdir()) <= 3 * 2000


def test_it_goes_on_after_a_restart_and_a_broken_line_is_passed_over(tmp_path: Path) -> None:
    Recorder(tmp_path, ManualClock()).decided("phase", {"n": 1})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b'{"n": 2, "ki\n')
    Recorder(tmp_path, ManualClock()).decided("phase", {"n": 3})
    assert [entry["n"] for entry in entries(tmp_path)] == [1, 3]


def test_figures_are_written_together_and_decisions_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, clock)
    recorder.figures("health", {"n": 1})
    assert list(entries(tmp_path)) == []
    assert [entry["n"] for entry in recorder.read()] == [1]
    clock.advance(301.0)
    recorder.figures("health", {"n": 2})
    assert [entry["n"] for entry in entries(tmp_path)] == [1, 2]
    recorder.figures("health", {"n": 3})
    recorder.decided("phase", {"n": 4})
    assert [entry["n"] for entry in entries(tmp_path)] == [1, 2, 3, 4]


def test_an_entry_without_end_is_cut_and_a_failing_disk_is_no_error(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ManualClock())
    recorder.decided("phase", {"text": "x" * 100_000})
    assert [entry["cut_bytes"] > 100_000 for entry in entries(tmp_path)] == [True]
    (tmp_path / "file").write_text("")
    Recorder(tmp_path / "file", ManualClock()).decided("phase", {})


def test_what_a_full_disk_does_not_take_is_written_once_there_is_room(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    recorder = Recorder(ring, ManualClock())
    recorder.decided("phase", {"n": 1})
    (written,) = ring.iterdir()
    ring.rename(tmp_path / "aside")
    ring.write_text("in its place")
    for n in range(2, 500):
        recorder.decided("phase", {"n": n})
    assert 2 < len(recorder.read()) < 300, "the newest are kept, not without end"
    ring.unlink()
    (tmp_path / "aside").rename(ring)
    written.write_bytes(written.read_bytes() + b'{"at": half of a li')
    recorder.decided("phase", {"n": 500})
    kept = [entry["n"] for entry in entries(ring)]
    assert kept[0] == 1
    assert kept[1:] == list(range(kept[1], 501))
