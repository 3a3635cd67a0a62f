"""Figures of classifiers and class maps, against values worked out by hand."""

import numpy as np
import pytest

from outrider.evaluation.classes import ClassMap
from outrider.evaluation.classification import Accuracy, average_precision
from outrider.evaluation.dataset import Picture
from outrider.evaluation.semantic import MeanIoU, read_mask, table
from runtime.errors import Refused
from runtime.results import Result

LABELS = ("cat", "dog", "bird")


def scores(*values):
    return Result((1, 1), LABELS, classes=np.array(values, np.float32))


def accuracy(*answers):
    meter = Accuracy(ClassMap({"cat": 0, "dog": 1}), LABELS)
    for label, result in answers:
        meter.add(Picture(0, "x", label), result)
    return meter.figures()


def test_top_one_and_the_confusion_are_counted():
    figures = accuracy(
        ("cat", scores(0.7, 0.2, 0.1)), ("cat", scores(0.1, 0.2, 0.7)), ("dog", scores(0.1, 0.8, 0.1))
    )
    assert figures.main["top-1"] == pytest.approx(66.67)
    assert figures.classes["cat"] == {"pictures": 2, "top-1": 50.0, "precision": 100.0}
    assert figures.extra["confusion"] == [{"truth": "cat", "found": "bird", "pictures": 1}]


def test_no_answer_counts_as_wrong():
    figures = accuracy(("cat", scores(0.9, 0.1, 0.0)), ("cat", None))
    assert figures.main == {"top-1": 50.0}, "and no top-5 of three classes"


def test_top_five_of_six_classes():
    labels = tuple("abcdef")
    meter = Accuracy(ClassMap({name: i for i, name in enumerate(labels)}), labels)
    for label in ("b", "f"):
        meter.add(Picture(0, "x", label), scores(0.3, 0.2, 0.2, 0.1, 0.1, 0.0))
    assert meter.figures().main == {"top-1": 0.0, "top-5": 50.0}


def test_average_precision_is_the_mean_precision_at_each_hit():
    there = np.array([True, False, True, False])
    assert average_precision(there, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)


def mask(tmp_path, values):
    from PIL import Image

    Image.fromarray(np.array(values, np.uint8)).save(tmp_path / "mask.png")
    return Picture(0, "x", mask=tmp_path / "mask.png")


def iou_of(tmp_path, truth, found):
    meter = MeanIoU(LABELS, table({0: 0, 1: 1, 2: 2}), known=frozenset({0, 1, 2, 255}))
    meter.add(mask(tmp_path, truth), Result((2, 2), LABELS, semantic=np.array(found, np.uint8)))
    return meter.figures()


def test_mean_iou_leaves_out_pixels_nobody_judged(tmp_path):
    figures = iou_of(tmp_path, [[0, 0], [1, 255]], [[0, 1], [1, 2]])
    assert figures.classes["cat"]["IoU"] == 50.0
    assert figures.classes["dog"]["IoU"] == 50.0
    assert "bird" not in figures.classes
    assert figures.main["mIoU"] == 50.0


def test_a_mask_of_unknown_values_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"values \[7\] are no class"):
        iou_of(tmp_path, [[0, 7], [1, 1]], [[0, 1], [1, 2]])


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(Refused, match="expected the same"):
        iou_of(tmp_path, [[0, 1, 1], [1, 1, 1]], [[0, 1], [1, 2]])


def test_the_colours_of_a_palette_are_not_looked_at(tmp_path):
    from PIL import Image

    picture = Image.fromarray(np.array([[0, 2]], np.uint8), mode=None).convert("P")
    picture.putdata([0, 2])
    picture.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0])
    picture.save(tmp_path / "p.png")
    assert read_mask(tmp_path / "p.png").tolist() == [[0, 2]]
