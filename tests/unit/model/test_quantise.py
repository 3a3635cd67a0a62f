import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from runtime.errors import ModelRefused
from runtime.model.precision.calibrate import ranges
from runtime.model.precision.quantise import inputs_to_calibrate, prepared, quantise
from runtime.model.spec import InputSpec
from tests.unit.model.graphs import FLOAT, save

RNG = np.random.default_rng(5)


def network(path, opset=19):
    """Two convolutions that share their input, a product, and a last convolution."""
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"]),
        helper.make_node("Conv", ["images", "w2"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("ConvTranspose", ["c", "w3"], ["d"]),
        helper.make_node("Conv", ["d", "w4"], ["out"]),
    ]
    shapes = {"w1": (8, 3, 1, 1), "w2": (8, 3, 1, 1), "w3": (8, 6, 1, 1), "w4": (4, 6, 1, 1)}
    weights = [(name, RNG.normal(0, 0.5, shape).astype(np.float32)) for name, shape in shapes.items()]
    weights[0][1][0] *= 100  # one channel far larger than the others: scales must be by channel
    return save(
        path,
        nodes,
        [("images", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 4, 8, 8])],
        weights,
        opset=opset,
        ir_version=9,
    )


def feed():
    return np.random.default_rng(1).normal(0, 1, (1, 3, 8, 8)).astype(np.float32)


def answer(content):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": feed()})[0]


def magnitudes(model):
    names = inputs_to_calibrate(model)
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "images")
    session = onnxruntime.InferenceSession(shown.SerializeToString())
    made = {name: session.run([name], {"images": feed()})[0] for name in names if name != "images"}
    return {name: float(np.abs(made.get(name, feed())).max()) for name in names}


@pytest.mark.parametrize(("kind", "tolerance"), [("int8", 0.02), ("fp8", 0.1)])
def test_results_are_near_and_the_last_layer_is_untouched(tmp_path, kind, tolerance):
    path = network(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    before = answer(str(path))
    assert quantise(model, magnitudes(model), kind) == 3
    onnx.checker.check_model(model, full_check=True)
    difference = np.abs(answer(model.SerializeToString()) - before).max() / np.abs(before).max()
    assert 0 < difference < tolerance
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["w4"] == FLOAT
    assert not {"w1", "w2", "w3"} & set(types), "a weight must be there once, quantised"


def test_a_shared_activation_is_quantised_once(tmp_path):
    model = onnx.load(str(network(tmp_path / "m.onnx")))
    quantise(model, magnitudes(model), "int8")
    quantised = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(quantised) == ["c", "images"]


def test_an_older_graph_is_lifted(tmp_path):
    model = onnx.load(str(network(tmp_path / "m.onnx", opset=11)))
    lifted = prepared(model, "int8")
    quantise(lifted, magnitudes(lifted), "int8")
    onnx.checker.check_model(lifted, full_check=True)


def test_a_graph_without_anything_to_quantise_is_refused(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Conv", ["images", "w"], ["out"])],
        [("images", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 4, 8, 8])],
        [("w", np.ones((4, 3, 1, 1), np.float32))],
    )
    with pytest.raises(ModelRefused, match="no convolution or product"):
        quantise(onnx.load(str(path)), {}, "int8")


def test_a_range_covers_all_but_the_outliers_of_every_picture(tmp_path):
    import cv2

    model = onnx.load(str(network(tmp_path / "m.onnx")))
    for index, value in enumerate((10, 200, 30)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), value, np.uint8))
    spec = InputSpec("images", 8, 8, scale=1.0)
    told = []
    files = sorted(tmp_path.glob("*.png"))
    assert ranges(model, spec, ["images", "c"], files, told.append)["images"] == 200
    assert told[-1] == "calibrating, 3 of 3 pictures"
