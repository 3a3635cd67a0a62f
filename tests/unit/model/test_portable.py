import numpy as np
import onnx
import onnxruntime
from onnx import helper

from runtime.model.portable import make_portable
from tests.unit.model.graphs import FLOAT, save


def test_a_gather_of_narrow_indices_gets_narrow_data_and_the_same_result(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("GatherElements", ["images", "rows"], ["out"], axis=1)],
        [("images", FLOAT, [1, 5, 7])],
        [("out", FLOAT, [1, 2, 3])],
        [("rows", np.array([[[4, 0, 1], [2, 2, 3]]], np.int64))],
    )
    model = onnx.load(str(path))
    make_portable(model)
    onnx.checker.check_model(model, full_check=True)
    feed = {"images": np.arange(35, dtype=np.float32).reshape(1, 5, 7)}
    before, after = (
        onnxruntime.InferenceSession(graph).run(None, feed)[0]
        for graph in (str(path), model.SerializeToString())
    )
    assert np.array_equal(before, after)
    assert [node.op_type for node in model.graph.node] == ["Slice", "GatherElements"]


def test_a_gather_that_fits_is_left_alone(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("GatherElements", ["images", "rows"], ["out"], axis=1)],
        [("images", FLOAT, [1, 5, 3])],
        [("out", FLOAT, [1, 2, 3])],
        [("rows", np.zeros((1, 2, 3), np.int64))],
    )
    model = onnx.load(str(path))
    make_portable(model)
    assert [node.op_type for node in model.graph.node] == ["GatherElements"]


def test_stored_weights_become_plain_and_the_result_stays(tmp_path):
    rng = np.random.default_rng(2)
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Cast", ["stored"], ["large"], to=FLOAT),
            helper.make_node("Mul", ["large", "steps"], ["weights"]),
            helper.make_node("Transpose", ["weights"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["images", "turned"], ["out"]),
        ],
        [("images", FLOAT, [1, 8])],
        [("out", FLOAT, [1, 4])],
        [
            ("stored", rng.integers(-127, 128, (4, 8)).astype(np.int8)),
            ("steps", rng.random((4, 1)).astype(np.float32)),
        ],
    )
    model = onnx.load(str(path))
    make_portable(model)
    onnx.checker.check_model(model, full_check=True)
    feed = {"images": rng.random((1, 8)).astype(np.float32)}
    before, after = (
        onnxruntime.InferenceSession(graph).run(None, feed)[0]
        for graph in (str(path), model.SerializeToString())
    )
    assert np.array_equal(before, after)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["turned"]


def test_slices_that_share_a_tensor_out_before_a_gather_become_one_split(tmp_path):
    bounds = {"b0": [0], "b2": [2], "b5": [5], "last": [-1]}
    slices = [
        helper.make_node("Slice", ["images", start, end, "last"], [out])
        for start, end, out in (("b2", "b5", "right"), ("b0", "b2", "left"))
    ]
    path = save(
        tmp_path / "m.onnx",
        [*slices, helper.make_node("GatherElements", ["left", "rows"], ["out"], axis=1)],
        [("images", FLOAT, [1, 4, 5])],
        [("out", FLOAT, [1, 2, 2]), ("right", FLOAT, [1, 4, 3])],
        [("rows", np.array([[[3, 0], [1, 2]]], np.int64))]
        + [(name, np.array(value, np.int64)) for name, value in bounds.items()],
    )
    model = onnx.load(str(path))
    make_portable(model)
    onnx.checker.check_model(model, full_check=True)
    feed = {"images": np.arange(20, dtype=np.float32).reshape(1, 4, 5)}
    before, after = (
        onnxruntime.InferenceSession(graph).run(None, feed)
        for graph in (str(path), model.SerializeToString())
    )
    assert all(map(np.array_equal, before, after))
    assert [node.op_type for node in model.graph.node] == ["Split", "GatherElements"]


def test_slices_that_leave_a_part_out_stay(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Slice", ["images", "b0", "b2", "last"], ["left"]),
            helper.make_node("Slice", ["images", "b2", "b4", "last"], ["right"]),
            helper.make_node("GatherElements", ["left", "rows"], ["out"], axis=1),
        ],
        [("images", FLOAT, [1, 4, 5])],
        [("out", FLOAT, [1, 2, 2]), ("right", FLOAT, [1, 4, 2])],
        [("rows", np.array([[[3, 0], [1, 2]]], np.int64))]
        + [
            (name, np.array([value], np.int64))
            for name, value in (("b0", 0), ("b2", 2), ("b4", 4), ("last", -1))
        ],
    )
    model = onnx.load(str(path))
    make_portable(model)
    assert [node.op_type for node in model.graph.node] == ["Slice", "Slice", "GatherElements"]
