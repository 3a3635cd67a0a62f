from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.workflow.block import StepFailed, Surroundings
from runtime.workflow.blocks.analytics import MAX_TRACKS, LineCounterV2, TimeInZoneV2, Tracks
from runtime.workflow.geometry import touches_itself
from runtime.workflow.inputs import detections_from_json
from runtime.workflow.values import DetectionIds, Detections, ImageValue, VideoMetadata
from runtime.workflow.zones import PaintedZones

AROUND = Surroundings(lambda: 0.0, lambda: 0.0)
LINE = [[100, 0], [100, 100]]
ZONE = [[0, 0], [100, 0], [100, 100], [0, 100]]


def seen(x: float, track: int | None = 1) -> Detections:
    entry: dict[str, Any] = {"x": x, "y": 50, "width": 10, "height": 10, "class": "person"}
    if track is not None:
        entry["tracker_id"] = track
    return detections_from_json(
        {"image": {"width": 200, "height": 100}, "predictions": [entry]}, DetectionIds()
    )


def frame(number: int, video: str = "door") -> ImageValue:
    return ImageValue(np.zeros((100, 200, 3), np.uint8), VideoMetadata(video, number, 0.0, 10.0, True))


def test_a_track_is_counted_once_on_each_crossing() -> None:
    counter = LineCounterV2(AROUND)
    counts = [
        counter.run(frame(n), seen(x), LINE, "CENTER")[:2] for n, x in enumerate([50, 90, 130, 150, 60])
    ]
    assert counts == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 1)]


def test_the_detection_that_crosses_is_told() -> None:
    counter = LineCounterV2(AROUND)
    counter.run(frame(1), seen(50), LINE, "CENTER")
    _, _, into, out = counter.run(frame(2), seen(150), LINE, "CENTER")
    assert (len(into), len(out)) == (1, 0)


def test_a_box_beyond_the_ends_of_the_line_does_not_count() -> None:
    counter = LineCounterV2(AROUND)
    for n, x in enumerate([50, 150]):
        counts = counter.run(frame(n), seen(x), [[100, 0], [100, 20]], "CENTER")
    assert counts[:2] == (0, 0)


def test_videos_are_counted_apart() -> None:
    counter = LineCounterV2(AROUND)
    counter.run(frame(1, "a"), seen(50), LINE, "CENTER")
    assert counter.run(frame(1, "b"), seen(150), LINE, "CENTER")[:2] == (0, 0)


def test_detections_without_a_tracker_are_refused_by_name() -> None:
    with pytest.raises(StepFailed, match="tracker"):
        LineCounterV2(AROUND).run(frame(1), seen(50, None), LINE, "CENTER")


def test_time_in_a_zone_starts_anew_after_leaving_it() -> None:
    block = TimeInZoneV2(AROUND)
    times = []
    for n, x in enumerate([50, 60, 150, 50]):
        timed = block.run(frame(n * 10), seen(x), ZONE, "CENTER", False, True)
        times.append(timed.data["time_in_zone"].tolist()[0])
    assert times == [0.0, 1.0, 0.0, 0.0]


def test_state_of_tracks_is_bounded() -> None:
    tracks: Tracks[list[int]] = Tracks()
    for track in range(MAX_TRACKS + 10):
        tracks.put(track, [track])
    assert len(tracks) == MAX_TRACKS
    assert tracks.get(0) is None


@pytest.mark.parametrize(
    ("outline", "touches"),
    [
        ([[0, 0], [9, 0], [9, 9], [0, 9]], False),
        ([[0, 0], [9, 0], [4, 4], [9, 9], [0, 9]], False),
        ([[0, 0], [9, 9], [9, 0], [0, 9]], True),
        ([[0, 0], [9, 0], [9, 9], [9, 4], [0, 9]], True),
        ([[0, 0], [4, 4], [9, 0], [9, 9], [4, 4], [0, 9]], True),
        ([[0, 0], [9, 0], [9, 9], [4, 0], [0, 9]], True),
    ],
)
def test_an_outline_that_touches_itself_is_found(outline: list[list[int]], touches: bool) -> None:
    assert touches_itself(np.array(outline)) is touches


def test_a_zone_that_reaches_far_is_judged_without_painting_it() -> None:
    zones = PaintedZones()
    far = [[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]]
    assert zones.inside(np.array([[5.0, 5.0], [-5.0, 7.4]]), far).tolist() == [True, True]
    near = [[2, 2], [6, 2], [6, 6], [2, 6]]
    points = np.array([[6.4, 4.0], [6.6, 4.0], [-3.0, 4.0], [1.6, 1.6]])
    assert zones.inside(points, near).tolist() == [True, False, False, True]
