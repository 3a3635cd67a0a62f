"""What the OpenVINO engine answers belongs to the caller, whether an output is small or large."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from runtime.model.backends import open_backend
from runtime.model.backends.backend import RunOptions

pytest.importorskip("openvino", reason="OpenVINO is not installed")
SIDE = 480


def graph() -> bytes:
    """`small`: the picture's largest value; `large`: 2.8 MB, the picture itself and one more; of any batch."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("GlobalMaxPool", ["f"], ["small"]),
        helper.make_node(
            "Constant", [], ["one"], value=helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
        ),
        helper.make_node("Add", ["f", "one"], ["large"]),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 3, SIDE, SIDE]),
        helper.make_tensor_value_info("small", TensorProto.FLOAT, ["n", 3, 1, 1]),
        helper.make_tensor_value_info("large", TensorProto.FLOAT, ["n", 3, SIDE, SIDE]),
    ]
    made = helper.make_graph(nodes, "g", values[:1], values[1:])
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def test_a_later_run_of_another_batch_leaves_earlier_answers_as_they_are():
    backend = open_backend("openvino", graph(), RunOptions(threads=1, runs=1))
    try:
        answers = {
            value: backend.run(np.full((batch, 3, SIDE, SIDE), value, np.uint8))
            for value, batch in ((7, 1), (40, 2), (9, 1))
        }
    finally:
        backend.close()
    for value, (small, large) in answers.items():
        assert (small == value).all()
        assert (large == value + 1).all()
        assert len(small) == len(large) == (2 if value == 40 else 1)
