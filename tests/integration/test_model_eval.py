"""`outrider model eval` on data sets made here, through the command line, and its figures against pycocotools' definition."""

from __future__ import annotations

import builtins
import json
import shutil

import cv2
import numpy as np
import pytest

from outrider.cli import main
from outrider.evaluation import dataset
from outrider.evaluation.classes import ClassMap
from outrider.evaluation.compare import Case
from outrider.evaluation.dataset import Picture
from outrider.evaluation.precision import AveragePrecision
from outrider.evaluation.report import side_by_side
from runtime.agreement import agree
from runtime.errors import Refused
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Result
from tests.unit.model.graphs import constant_rows

SIZE = 32
ROWS = 16 + 4 + 1


def rows(*detections):
    """Undecoded YOLOX rows of two classes; every detection is a box of 8 px on its cell of stride 8."""
    table = np.zeros((ROWS, 7), np.float32)
    for cell, score, class_id in detections:
        table[cell] = [0.5, 0.5, 0.0, 0.0, 1.0, score * (class_id == 0), score * (class_id == 1)]
    return table


def annotation(number, image, category, box, **more):
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def package(tmp_path):
    """Finds a cat at (8, 8, 16, 16), which is there, and a dog at (0, 24, 8, 32), which is not."""
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0), (12, 0.8, 1)))
    options = PackOptions(no_golden=True, labels=["cat", "dog"])
    return pack(source, tmp_path / "m.pkg", options, LoadOptions(cache_dir=tmp_path)).directory


@pytest.fixture
def data(tmp_path):
    """One picture with two cats: one where the model finds it, one it misses; and a dog elsewhere."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.full((SIZE, SIZE, 3), 90, np.uint8))
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": SIZE, "height": SIZE}],
        "categories": [{"id": 10, "name": "Cat"}, {"id": 20, "name": "dog"}],
        "annotations": [
            annotation(1, 1, 10, [8, 8, 8, 8]),
            annotation(2, 1, 10, [20, 20, 8, 8]),
            annotation(3, 1, 20, [24, 0, 8, 8]),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return document, path


def evaluate(package, tmp_path, *more):
    return main(["model", "eval", str(package), "--images", str(tmp_path / "images"), *map(str, more)])


def test_average_precision_by_class_is_what_coco_defines(package, data, tmp_path, capsys):
    _, annotations = data
    assert evaluate(package, tmp_path, "--annotations", annotations, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    # One of two cats at precision 1: 51 of COCO's 101 recall steps.
    assert told["classes"]["Cat"] == {"objects": 2, "AP": 50.5, "AP50": 50.5}
    assert told["classes"]["dog"] == {"objects": 1, "AP": 0.0, "AP50": 0.0}
    assert told["figures"]["AP50"] == 25.25


def test_a_table_for_people_names_every_class(package, data, tmp_path, capsys):
    assert evaluate(package, tmp_path, "--annotations", data[1]) == 0
    printed = capsys.readouterr().out
    assert "AP50         25.25" in printed
    assert "Cat          2  50.50  50.50" in printed


def test_a_class_the_model_does_not_have_is_told_with_the_nearest_name(package, data, tmp_path, capsys):
    document, annotations = data
    document["categories"][1]["name"] = "dogs"
    annotations.write_text(json.dumps(document))
    assert evaluate(package, tmp_path, "--annotations", annotations) == 1
    assert "did you mean 'dog'?" in capsys.readouterr().err
    assert evaluate(package, tmp_path, "--annotations", annotations, "--map", "dogs=dog") == 0


def test_pictures_that_are_not_there_are_named(package, data, tmp_path, capsys):
    (tmp_path / "images" / "1.png").unlink()
    assert evaluate(package, tmp_path, "--annotations", data[1]) == 1
    assert "1 of 1 pictures are not there: 1.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[]", "expected annotations in COCO's form"),
        ('{"images": [{}], "annotations": [], "categories": []}', "images[0]: no 'id'"),
    ],
)
def test_what_is_no_coco_file_is_refused(package, data, tmp_path, capsys, content, words):
    data[1].write_text(content)
    assert evaluate(package, tmp_path, "--annotations", data[1]) == 1
    assert words in capsys.readouterr().err


def test_the_wrong_kind_of_data_set_says_which_is_right(package, data, tmp_path, capsys):
    folder = tmp_path / "folders" / "cat"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert main(["model", "eval", str(package), "--labels-by-folder", str(folder.parent)]) == 1
    assert "detection is measured with --images DIR --annotations FILE" in capsys.readouterr().err


def test_without_pycocotools_the_extra_is_named(package, data, tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert evaluate(package, tmp_path, "--annotations", data[1]) == 1
    assert "pip install 'outrider[eval]'" in capsys.readouterr().err


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def test_masks_are_measured_by_their_own_overlap(data, tmp_path):
    """The boxes are right, one of the masks is empty but for a corner."""
    from pycocotools import mask as coco_mask

    document, annotations = data
    boxes = [[8, 8, 8, 8], [20, 20, 8, 8], [24, 0, 8, 8]]
    for entry, (x, y, side, _) in zip(document["annotations"], boxes, strict=True):
        entry["segmentation"] = square(x, y, side)
    annotations.write_text(json.dumps(document))

    def encoded(x, y, side):
        plane = np.zeros((SIZE, SIZE), np.uint8, order="F")
        plane[y : y + side, x : x + side] = 1
        return coco_mask.encode(plane)

    found = Result(
        (SIZE, SIZE),
        ("cat", "dog"),
        boxes=np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        class_ids=np.array([0, 0, 1], np.int32),
        masks=(encoded(8, 8, 8), encoded(20, 20, 2), encoded(24, 0, 8)),
    )
    figures = measured(tmp_path, annotations, ("bbox", "segm"), found)
    assert figures.main["AP50"] == 100.0
    assert figures.classes["Cat"]["mask AP50"] == 50.5
    assert figures.classes["dog"]["mask AP50"] == 100.0


@pytest.mark.parametrize(("off_px", "expected"), [(0.0, 100.0), (60.0, 0.0)])
def test_keypoints_are_measured_by_their_distance(data, tmp_path, off_px, expected):
    document, annotations = data
    points = np.stack([np.linspace(10, 90, 17), np.linspace(20, 80, 17)], axis=1)
    flat = np.concatenate([points, np.full((17, 1), 2)], axis=1).reshape(-1).tolist()
    document["categories"] = [{"id": 10, "name": "Cat"}]
    document["annotations"] = [annotation(1, 1, 10, [0, 0, 100, 100], keypoints=flat, num_keypoints=17)]
    annotations.write_text(json.dumps(document))
    found = Result(
        (100, 100),
        ("cat", "dog"),
        boxes=np.array([[0, 0, 100, 100]], np.float32),
        scores=np.array([0.9], np.float32),
        class_ids=np.array([0], np.int32),
        keypoints=np.concatenate([points + off_px, np.ones((17, 1))], axis=1)[None].astype(np.float32),
    )
    assert measured(tmp_path, annotations, ("keypoints",), found).main["OKS AP"] == expected


def measured(tmp_path, annotations, kinds, found):
    read = dataset.coco(tmp_path / "images", annotations)
    ids = {name: i for i, name in enumerate(("Cat", "dog")) if name in read.classes}
    meter = AveragePrecision(read, ClassMap(ids), kinds)
    meter.add(Picture(1, tmp_path / "images" / "1.png"), found)
    return meter.figures()


def test_annotations_without_masks_do_not_measure_masks(data, tmp_path):
    read = dataset.coco(tmp_path / "images", data[1])
    with pytest.raises(Refused, match="no annotation has a 'segmentation'"):
        AveragePrecision(read, ClassMap({"Cat": 0}), ("segm",))


# --- comparing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path):
    """Finds the same cat a little less sure of it, and no dog."""
    source = constant_rows(tmp_path / "n.onnx", rows((5, 0.8, 0)))
    options = PackOptions(no_golden=True, labels=["cat", "dog"])
    return pack(source, tmp_path / "n.pkg", options, LoadOptions(cache_dir=tmp_path)).directory


def compare(a, b, tmp_path, *more):
    return main(["model", "compare", str(a), str(b), "--images", str(tmp_path / "images"), *map(str, more)])


def test_two_models_are_compared_without_labels(package, other, data, tmp_path, capsys):
    assert compare(package, other, tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"]["found by both"] == 1
    assert told["agreement"]["only by A"] == 1
    assert told["agreement"]["mean score off"] == pytest.approx(0.1, abs=1e-4)
    assert told["classes"]["dog"] == {"both": 0, "only A": 1, "only B": 0}


def test_with_labels_the_figures_stand_side_by_side(package, other, data, tmp_path, capsys):
    assert compare(package, other, tmp_path, "--annotations", data[1], "--json") == 0
    (ap, *_) = json.loads(capsys.readouterr().out)["measured"]
    assert ap == {"what": "AP", "A": 25.25, "B": 25.25, "B - A": 0.0}


def test_a_model_agrees_with_itself_in_another_precision(package, data, tmp_path, capsys):
    assert compare(package, f"{package}@onnxruntime-cpu:fp16", tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["B"]["engine"]["precision"] == "fp16"
    assert told["agreement"]["agreement %"] == 100.0


def test_the_report_shows_where_they_differ(package, other, data, tmp_path, capsys):
    assert compare(package, other, tmp_path, "--report", tmp_path / "report") == 0
    assert "report/index.html" in capsys.readouterr().out
    page = (tmp_path / "report" / "index.html").read_text()
    assert "1 found by both, 1 only by A" in page
    picture = cv2.imread(str(tmp_path / "report" / "pictures" / "001.jpg"))
    middle = picture.shape[1] // 2
    left, right = picture[:, : middle - 4], picture[:, middle + 4 :]
    assert left.shape == right.shape
    # The dog's frame at the lower left is drawn for A alone.
    assert np.abs(left.astype(int) - right)[-20:, :20].max() > 100


def test_models_of_two_tasks_are_not_compared(package, data, tmp_path, capsys):
    toml = tmp_path / "t.pkg"
    shutil.copytree(package, toml)
    text = (toml / "model.toml").read_text().replace('task = "detection"', 'task = "keypoints"')
    (toml / "model.toml").write_text(text)
    assert compare(package, toml, tmp_path) == 1
    assert "expected two models of one task" in capsys.readouterr().err


def test_an_engine_that_does_not_exist_is_told(package, data, tmp_path, capsys):
    assert compare(package, f"{package}@openvin", tmp_path) == 1
    assert "did you mean 'openvino'" in capsys.readouterr().err


def test_where_class_maps_differ_has_a_border_on_both_sides(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), np.full((64, 64, 3), 90, np.uint8))
    maps = [np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)]
    maps[1][16:48, 16:48] = 1
    a, b = (Result((64, 64), ("off", "on"), semantic=values) for values in maps)
    picture = side_by_side(Case(tmp_path / "p.png", agree(a, b), a, b))
    half = picture.shape[1] // 2
    for side in (picture[:, : half - 4], picture[:, half + 4 :]):
        place = side.shape[0] * 16 // 64
        white = (side[place - 4 : place + 5] >= 250).all(axis=2).any(axis=0)
        assert white[side.shape[1] // 3 : side.shape[1] // 2].all()
