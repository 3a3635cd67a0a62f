import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from runtime.model.precision.half import to_half
from tests.unit.model.graphs import FLOAT, HALF, save

RNG = np.random.default_rng(3)


def network(path, tail=()):
    """Convolution, activation with constants, resize, convolution, and a tail that adds 1000 to positions."""
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Constant", [], ["six"], value_float=6.0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"]),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
        helper.make_node("Conv", ["c", "w2"], ["d"]),
        helper.make_node("Add", ["d", "far"], ["out"]),
        *tail,
    ]
    weights = [
        ("w1", RNG.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)),
        ("w2", RNG.normal(0, 0.3, (4, 8, 1, 1)).astype(np.float32)),
        ("scales", np.array([1, 1, 2, 2], np.float32)),
        ("far", np.array(1000.25, np.float32)),
    ]
    return save(
        path,
        nodes,
        [("images", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 4, 16, 16]), *(("second", FLOAT, [1, 4, 16, 16]) for _ in tail)],
        weights,
    )


def converted(path):
    model = onnx.load(str(path))
    to_half(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def answers(content):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feed = np.random.default_rng(1).random((1, 3, 8, 8)).astype(np.float32)
    return session.run(None, {"images": feed})


def test_results_are_near_and_the_tail_keeps_its_digits(tmp_path):
    path = network(tmp_path / "m.onnx")
    full, half = answers(str(path))[0], answers(converted(path).SerializeToString())[0]
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.02, "FP16 is 0.5 apart at 1000: the sum must be FP32"


def test_convolutions_have_half_weights_and_a_tensor_is_cast_once(tmp_path):
    tail = [helper.make_node("Sub", ["d", "far"], ["second"])]
    model = converted(network(tmp_path / "m.onnx", tail))
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert [types[node.input[1]] for node in convolutions] == [HALF, HALF]
    assert types["scales"] == FLOAT
    casts = [(node.input[0], node.attribute[0].i) for node in model.graph.node if node.op_type == "Cast"]
    assert sorted(casts) == [("d", FLOAT), ("images", HALF)]


def test_an_output_that_became_half_keeps_its_name_and_type(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["images", "w"], ["out"])],
        [("images", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 3, 8, 2])],
        [("w", RNG.normal(0, 1, (8, 2)).astype(np.float32))],
    )
    model = converted(path)
    assert [(v.name, v.type.tensor_type.elem_type) for v in model.graph.output] == [("out", FLOAT)]
    assert answers(model.SerializeToString())[0] == pytest.approx(answers(str(path))[0], abs=0.01)


def test_a_weight_beyond_the_range_is_cut_and_not_infinite(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Min", ["images", "huge"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["out"])],
        [("images", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 3, 8, 2])],
        [("huge", np.array(1e30, np.float32)), ("w", np.ones((8, 2), np.float32))],
    )
    assert np.isfinite(answers(converted(path).SerializeToString())[0]).all()
