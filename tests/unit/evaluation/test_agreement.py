"""Where two answers agree, and where they do not."""

import numpy as np
import pytest

from outrider.evaluation.contender import Contender
from runtime.agreement import Tally, agree
from runtime.results import Result


def found(*detections):
    boxes = np.array([d[0] for d in detections], np.float32).reshape(-1, 4)
    return Result(
        (100, 100),
        ("cat", "dog"),
        boxes=boxes,
        scores=np.array([d[1] for d in detections], np.float32),
        class_ids=np.array([d[2] for d in detections], np.int32),
    )


BOX, BESIDE = (10, 10, 30, 30), (60, 60, 90, 90)


def test_the_same_answer_does_not_differ():
    agreement = agree(found((BOX, 0.9, 0)), found((BOX, 0.9, 0)))
    assert agreement.difference == 0
    assert agreement.ious == (1.0,)


def test_what_only_one_found_is_named_by_its_index():
    agreement = agree(found((BOX, 0.9, 0), (BESIDE, 0.6, 1)), found((BOX, 0.8, 0)))
    assert agreement.only_a == (1,)
    assert agreement.alone_a == {"dog": 1}
    assert agreement.difference == pytest.approx(0.6 + 0.1, abs=1e-5)


def test_another_class_at_the_same_place_is_another_object():
    agreement = agree(found((BOX, 0.9, 0)), found((BOX, 0.9, 1)))
    assert (agreement.only_a, agreement.only_b) == ((0,), (0,))


def test_no_answer_differs_from_everything_but_itself():
    assert agree(None, found()).difference == float("inf")
    assert agree(None, None).difference == 0


def test_class_maps_agree_by_their_pixels():
    a, b = (Result((2, 1), semantic=np.array([row], np.uint8)) for row in ([0, 1], [0, 2]))
    assert agree(a, b).same == 0.5


def test_agreement_counts_what_both_found_twice():
    tally = Tally()
    tally.add(agree(found((BOX, 0.9, 0), (BESIDE, 0.6, 1)), found((BOX, 0.9, 0))))
    assert tally.figures()["agreement %"] == pytest.approx(66.67)
    assert tally.classes()["dog"] == {"both": 0, "only A": 1, "only B": 0}


def test_engine_and_precision_stand_behind_the_at_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = Contender.parse("a.pkg@openvino:bf16")
    assert (named.package, named.engine, named.precision) == ("a.pkg", "openvino", "bf16")
    assert Contender.parse("a.pkg@:fp16").engine == ""


def test_a_path_with_an_at_sign_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cap@2.pkg").mkdir()
    assert Contender.parse("cap@2.pkg").package == "cap@2.pkg"
