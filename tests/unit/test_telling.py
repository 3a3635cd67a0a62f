"""The words of the demo."""

from __future__ import annotations

from typing import Any

from outrider.demo.telling import line, report, shadow, shadowed
from outrider.updatewords import lines

CAMERA: dict[str, Any] = {
    "fps": 15.0,
    "latency_p50_ms": 8.4,
    "frames": 100,
    "results": 97,
    "skipped": {"latest-frame-wins": 3},
    "blind_s": {"starting": 1.25},
    "summary": {"predictions": 4, "passed": 7, "count_good": 5, "reject": False},
}


def test_a_line_tells_the_outputs_asked_for_under_short_names() -> None:
    told = line(3.0, CAMERA, ("passed", "count_good", "absent"), "v1")
    assert "passed 7  good 5" in told
    assert "reject" not in told
    assert "blind 1.2 s" in told


def test_a_line_tells_all_outputs_where_none_is_asked_for() -> None:
    assert "passed 7  good 5  reject False" in line(3.0, CAMERA, (), "v1")


def test_a_camera_that_is_blind_is_told_so() -> None:
    blind = {**CAMERA, "blind_now": {"cause": "camera-lost", "for_s": 4.2}}
    assert "BLIND NOW: camera-lost for 4 s" in line(3.0, blind, (), "v1")
    assert "does not answer" in line(3.0, {}, (), "v1")


def test_the_report_sets_the_versions_side_by_side() -> None:
    verdicts = [
        {
            "caps": {"good": 9, "dented": 4},
            "missed": {"dented": 4 - found},
            "rejected": {"dented": found, "good": 1},
        }
        for found in (1, 4)
    ]
    judgement = {"counted": 26, "true_caps": 26, "versions": verdicts}
    swap = {"frames_lost": 0, "gap_ms": 66.0, "frame_period_ms": 66.7, "took_s": 0.7}
    told = {
        "compared": 15,
        "agreement": 0.964,
        "found": {"live": 60, "candidate": 61},
        "confidence_difference": 0.012,
    }
    lines = report(CAMERA, [swap], [told], {}, judgement, ("old one", "new one")).splitlines()
    assert any(line.split() == ["dented", "3", "of", "4", "0", "of", "4"] for line in lines)
    assert any("frames lost   3 latest-frame-wins" in line for line in lines)
    assert any("gap 66 ms" in line for line in lines)
    assert any(
        "15 pictures compared before the swap, agreement 96%, confidence +0.01" in line for line in lines
    )
    assert any("health        none has arrived yet" in line for line in lines)


def test_a_comparison_that_was_left_out_says_why() -> None:
    assert shadowed(shadow({"why": "memory: too little"})) == "not compared: memory: too little"
    told = {"pipelines": {"p": {"m/1": {"compared": 9, "agreement": None}}}}
    assert shadowed(shadow(told)) == "9 pictures compared before the swap"


def test_what_is_reported_of_an_update_is_told_with_gate_figure_and_limit() -> None:
    phases = {
        "shadow": {"why": "no picture came in time"},
        "probation": {"gate": "empty-output", "figure": 1.0, "limit": 0.9, "message": "gate empty-output"},
    }
    told = lines(
        {"update": {"phases": phases}, "swaps": [{"pipeline": "door", "frames_lost": 0, "gap_ms": 99.6}]}
    )
    assert told == [
        "not compared before the swap: no picture came in time",
        "door swapped: frames lost 0, gap 100 ms",
        "gate empty-output did not hold: 1 against a limit of 0.9",
    ]
    assert lines({}) == []
