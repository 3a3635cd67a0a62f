"""Which frames are taken for re-training, and what is told of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from runtime.camera.reader import Frame
from runtime.pipeline.sampler import Choice, Sampler, labels
from runtime.pipeline.snapshot import Seen
from runtime.results import Result
from wire import desired, picture
from wire.camera import Privacy, Sampling
from wire.errors import Refused


def result(*scores: float) -> Result:
    count = len(scores)
    boxes = np.tile(np.array([[10, 20, 30, 60]], np.float32), (count, 1))
    return Result((160, 120), ("cat",), boxes, np.array(scores, np.float32), np.zeros(count, np.int32))


def test_frames_are_taken_by_chance_about_as_often_as_is_wanted() -> None:
    rng = np.random.default_rng(3)
    choice = Choice(Sampling(every_s=10), lambda: float(rng.random()), 0.0)
    taken = [at for at in range(10_000) if choice.why({}, float(at)) == "sampled"]
    assert 900 < len(taken) < 1100
    gaps = {b - a for a, b in itertools.pairwise(taken)}
    assert len(gaps) > 5


def test_a_frame_with_a_score_in_the_band_is_taken_and_then_none_for_a_while() -> None:
    choice = Choice(Sampling(uncertain=[0.3, 0.6], min_gap_s=5), lambda: 0.5, 0.0)
    assert choice.why({"m": result(0.9, 0.1)}, 1.0) == ""
    assert choice.why({"m": result(0.9), "n": result(0.5)}, 2.0) == "uncertain"
    assert choice.why({"m": result(0.5)}, 6.9) == ""
    assert choice.why({"m": result(0.5)}, 7.0) == "uncertain"
    sure = Result((160, 120), ("cat", "dog"), classes=np.array([0.55, 0.45], np.float32))
    assert choice.why({"m": sure}, 20.0) == "uncertain"


def test_what_was_found_is_told_in_pixels_of_the_picture_that_is_sent() -> None:
    (label,) = labels({"m": result(0.5)}, 80)
    assert (label["name"], label["score"], label["bbox"]) == ("cat", 0.5, [5.0, 10.0, 10.0, 20.0])


def test_a_sample_is_what_the_control_plane_reads_with_hidden_parts_hidden(tmp_path: Path) -> None:
    corner = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    privacy = Privacy(pictures="fleet", blurred=[corner])
    sampler = Sampler("gate", "p", Sampling(every_s=1, width_px=80), privacy, str(tmp_path), 0.0)
    image = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    origin = {"revision": 3, "workflow": "w", "models": {}, "model_names": {}}
    seen = Seen(Frame(7, image, 1.0, 1000.5), {}, {"m": result(0.5)}, None, origin)
    taken = sampler._take(seen, "sampled")
    sample, jpeg = picture.unpack(Path(taken.path).read_bytes())
    assert (sample.camera, sample.width, sample.height, sample.frame_wall) == ("gate", 80, 60, 1000.5)
    assert (sample.about.frame_seq, sample.about.revision, len(sample.about.labels)) == (7, 3, 1)
    import cv2

    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert shown is not None
    assert shown[:, :36].std() < 0.5 * shown[:, 44:].std()


@pytest.mark.parametrize("pictures", ["none", "device"])
def test_sampling_without_a_policy_for_it_is_refused_and_takes_nothing(pictures: str, tmp_path: Path) -> None:
    camera = {"source": "0", "privacy": {"pictures": pictures}, "sampling": {"every_s": 60}}
    with pytest.raises(Refused) as refused:
        desired.parse({"device": "d", "revision": 1, "issued_at": 1.0, "cameras": {"gate": camera}})
    assert [problem.path for problem in refused.value.problems] == ["cameras.gate.sampling"]
    assert not Sampler("gate", "p", Sampling(every_s=1), Privacy(pictures=pictures), str(tmp_path), 0.0).on


@pytest.mark.parametrize(
    "wrong", [{"uncertain": [0.6, 0.3]}, {"uncertain": [0.5]}, {"every_s": -1}, {"per_day": 0}]
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Sampling(**wrong)  # type: ignore[arg-type]
