from __future__ import annotations

from typing import Any

import numpy as np

from runtime.workflow.block import Surroundings
from runtime.workflow.blocks.majority import TrackClassLock
from runtime.workflow.values import Detections, ImageValue, VideoMetadata, objects

RULES: dict[str, Any] = {
    "min_votes": 3,
    "vote_confidence": 0.5,
    "lead_margin": 1,
    "switch_after": 2,
    "reattach_window": 5,
    "reattach_iou": 0.5,
    "state_ttl": 20,
}
CLASSES = ("good", "dented")


def one(name: str, track: int = 1, score: float = 0.9, left_px: float = 0.0) -> Detections:
    return Detections(
        np.array([[left_px, 0.0, left_px + 10.0, 10.0]]),
        np.array([score]),
        np.array([CLASSES.index(name)]),
        objects([name]),
        objects([f"d{track}"]),
        (64, 64),
        np.array([track], np.int64),
    )


def none() -> Detections:
    return one("good").select(np.array([False]))


class Lock:
    def __init__(self) -> None:
        self._block = TrackClassLock(Surroundings(lambda: 0.0, lambda: 0.0))

    def __call__(self, detections: Detections, video: str = "belt", **rules: Any) -> Detections:
        image = ImageValue(np.zeros((64, 64, 3), np.uint8), VideoMetadata(video))
        return self._block.run(image, detections, **{**RULES, **rules})

    def names(self, *names: str) -> list[str]:
        return [str(self(one(name)).class_name[0]) for name in names]


def test_a_locked_class_stands_against_single_frames() -> None:
    lock = Lock()
    assert lock.names("good", "good", "good", "dented", "good", "dented") == [*["good"] * 3, *["good"] * 3]


def test_a_class_is_not_locked_before_its_votes_and_its_lead() -> None:
    lock = Lock()
    flags = [
        bool(lock(one(n), lead_margin=3).data["class_locked"][0]) for n in ("good", "dented", "good", "good")
    ]
    assert flags == [False, False, False, False]
    assert bool(lock(one("good"), lead_margin=3).data["class_locked"][0])


def test_a_challenger_takes_over_after_its_streak_and_brings_its_class_id() -> None:
    lock = Lock()
    lock.names("good", "good", "good", "dented")
    settled = lock(one("dented", score=0.7))
    assert settled.class_name.tolist() == ["dented"]
    assert settled.class_id.tolist() == [1]
    assert settled.confidence[0] == np.mean([0.9, 0.7])


def test_unsure_frames_do_not_vote() -> None:
    lock = Lock()
    for _ in range(6):
        assert not lock(one("good", score=0.4)).data["class_locked"][0]


def test_a_new_track_in_the_place_of_a_lost_one_inherits_its_class() -> None:
    lock = Lock()
    lock.names("dented", "dented", "dented")
    lock(none())
    settled = lock(one("good", track=2, left_px=1.0))
    assert settled.class_name.tolist() == ["dented"]


def test_a_new_track_elsewhere_or_much_later_inherits_nothing() -> None:
    for gap, left_px in ((1, 30.0), (6, 0.0)):
        lock = Lock()
        lock.names("dented", "dented", "dented")
        for _ in range(gap):
            lock(none())
        assert lock(one("good", track=2, left_px=left_px)).class_name.tolist() == ["good"]


def test_a_track_that_stays_away_is_forgotten() -> None:
    lock = Lock()
    lock.names("dented", "dented", "dented")
    for _ in range(RULES["state_ttl"] + 1):
        lock(none())
    assert lock(one("good")).class_name.tolist() == ["good"]


def test_two_videos_do_not_vote_for_each_other() -> None:
    lock = Lock()
    lock.names("dented", "dented", "dented")
    assert lock(one("good"), video="other").class_name.tolist() == ["good"]


def test_the_detections_that_came_in_are_left_as_they_were() -> None:
    lock = Lock()
    lock.names("good", "good", "good")
    given = one("dented")
    lock(given)
    assert given.class_name.tolist() == ["dented"]
    assert given.class_id.tolist() == [1]
