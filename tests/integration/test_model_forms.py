"""Forms in which exporters write graphs: a second input for the picture's size, open shapes, odd names, bytes, rows of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import outrider
from runtime.errors import ModelRefused
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from tests.unit.model.graphs import FLOAT, UINT8, save

PICTURE = np.full((48, 96, 3), 200, np.uint8)
SIZE = 32


def finished(path: Path, *, batch: int | str = 1) -> Path:
    """D-FINE as its authors export it: boxes are shares, multiplied in the graph by the size that the second input names."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Squeeze", ["nothing", "last"], ["flat3"]),
        helper.make_node("Squeeze", ["flat3", "last2"], ["flat2"]),
        helper.make_node("Add", ["flat2", "sure"], ["scores"]),
        helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["sizes", "sizes"], ["twice"], axis=1),
        helper.make_node("Unsqueeze", ["twice", "one"], ["scale"]),
        helper.make_node("Add", ["flat3", "shares"], ["spread"]),
        helper.make_node("Mul", ["spread", "scale"], ["boxes"]),
        helper.make_node("Add", ["flat2", "kinds"], ["kinds_f"]),
        helper.make_node("Cast", ["kinds_f"], ["labels"], to=TensorProto.INT64),
    ]
    weights = [
        ("zero", np.zeros(1, np.float32)),
        ("last", np.array([3], np.int64)),
        ("last2", np.array([2], np.int64)),
        ("one", np.array([1], np.int64)),
        ("sure", np.array([[0.9, 0.2]], np.float32)),
        ("shares", np.array([[[0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1]]], np.float32)),
        ("kinds", np.array([[2, 0]], np.float32)),
    ]
    inputs = [
        ("images", FLOAT, [batch, 3, SIZE, SIZE]),
        ("orig_target_sizes", TensorProto.INT64, [batch, 2]),
    ]
    outputs = [
        ("labels", TensorProto.INT64, [batch, 2]),
        ("boxes", FLOAT, [batch, 2, 4]),
        ("scores", FLOAT, [batch, 2]),
    ]
    return save(path, nodes, inputs, outputs, weights)


@pytest.mark.parametrize("batch", [1, "n"])
def test_an_input_for_the_pictures_size_is_bound_and_boxes_are_the_pictures(
    tmp_path: Path, batch: int | str
) -> None:
    source = finished(tmp_path / "dfine.onnx", batch=batch)
    packed = pack(source, tmp_path / "m", PackOptions(no_golden=True), LoadOptions(cache_dir=tmp_path))
    assert packed.spec.family == "rtdetr"
    assert any("bound" in note for note in packed.notes)
    with outrider.load(packed.directory, cache_dir=tmp_path) as model:
        first, second = model.predict_many([PICTURE, np.full((64, 64, 3), 9, np.uint8)])
    assert first.boxes.tolist() == [[24, 24, 48, 48]]
    assert second.boxes.tolist() == [[16, 32, 32, 64]]
    assert first.class_ids.tolist() == [2]


def test_a_second_input_that_is_something_else_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["images", "more"], ["out"])]
    shape = [1, 3, SIZE, SIZE]
    source = save(
        tmp_path / "two.onnx",
        nodes,
        [("images", FLOAT, shape), ("more", FLOAT, shape)],
        [("out", FLOAT, shape)],
    )
    with pytest.raises(ModelRefused, match="its only input"):
        pack(source, tmp_path / "m", PackOptions(no_golden=True), LoadOptions(cache_dir=tmp_path))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [FLOAT, UINT8])
def test_a_classifier_of_any_layout_type_and_name_tells_colours_apart(
    tmp_path: Path, layout: str, dtype: int
) -> None:
    """It answers the mean of each channel, so that a red picture is of class 0 where colours come as RGB."""
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    shape = ["unk:0", 3, SIZE, SIZE] if layout == "NCHW" else ["unk:0", SIZE, SIZE, 3]
    nodes = [
        helper.make_node("Cast", ["serving/input:0"], ["floats"], to=FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["means", "gain/w:0"], ["StatefulPartitionedCall:0"]),
    ]
    source = save(
        tmp_path / "colours.onnx",
        nodes,
        [("serving/input:0", dtype, shape)],
        [("StatefulPartitionedCall:0", FLOAT, ["unk:0", 3])],
        [("gain/w:0", np.full(1, 0.05, np.float32))],
        listed=True,
    )
    options = PackOptions(
        no_golden=True, labels=["red", "green", "blue"], scale=1.0, mean=(0,) * 3, std=(1,) * 3
    )
    packed = pack(source, tmp_path / "m", options, LoadOptions(cache_dir=tmp_path))
    assert (packed.spec.input.layout, packed.spec.input.batch) == (layout, None)
    red, blue = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60, 3), np.uint8)
    red[..., 2], blue[..., 0] = 250, 250
    with outrider.load(packed.directory, cache_dir=tmp_path) as model:
        answers = model.predict_many([red, blue])
    assert [answer.top(1)[0][1] for answer in answers] == ["red", "blue"]
    assert answers[0].top(1)[0][2] > 0.99
