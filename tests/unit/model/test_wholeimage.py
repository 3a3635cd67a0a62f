"""How pixels are scaled for models of the whole picture, as far as a graph tells."""

import dataclasses

import numpy as np
import pytest
from onnx import helper

from runtime.model import families
from runtime.model.families.family import IMAGENET_MEAN, Graph, Port
from runtime.model.families.segmentation import best_classes
from runtime.model.families.wholeimage import assumption, scaling
from runtime.model.graph import describe, open_onnx
from tests.unit.model.graphs import FLOAT, save

PYTORCH = Graph(Port("x", (1, 3, 96, 96)), (Port("out", (1, 2)),), 96, 96)
KERAS = Graph(Port("x", (1, 96, 96, 3)), (Port("out", (1, 2)),), 96, 96, "NHWC")


def given(graph, *head):
    return dataclasses.replace(graph, head=head)


@pytest.mark.parametrize(
    ("graph", "scale", "mean"),
    [
        (PYTORCH, 255, IMAGENET_MEAN),
        (KERAS, 255, (0, 0, 0)),
        (given(KERAS, ("Mul", (1 / 255,))), 1, (0, 0, 0)),
        (given(KERAS, ("Div", (127.5,)), ("Sub", (1.0,))), 1, (0, 0, 0)),
        (given(PYTORCH, ("Sub", (123.675, 116.28, 103.53)), ("Div", (58.4, 57.1, 57.4))), 1, (0, 0, 0)),
        (given(PYTORCH, ("Sub", IMAGENET_MEAN), ("Div", (0.229, 0.224, 0.225))), 255, (0, 0, 0)),
        (given(PYTORCH, ("Mul", (2.0,)), ("Sub", (1.0,))), 255, (0, 0, 0)),
    ],
)
def test_scaling_by_what_the_graph_shows(graph, scale, mean):
    found = scaling(graph)
    assert (found.scale, found.mean) == (scale, mean)


def test_a_classifier_of_keras_is_stretched_and_one_of_pytorch_cut():
    family = families.get("classifier")
    assert family.recognise(KERAS).input.resize == "stretch"
    assert family.recognise(PYTORCH).input.resize == "centre-crop"


def test_what_was_assumed_is_told_until_a_person_says_it():
    for name, graph in (("classifier", KERAS), ("embedding", PYTORCH)):
        match = families.get(name).recognise(graph, named=True)
        (note,) = assumption(match, match.input)
        assert "--mean" in note
        assert match.assumed in note
        assert assumption(match, dataclasses.replace(match.input, scale=2.0)) == []
    exported = dataclasses.replace(PYTORCH, metadata={"task": "classify"})
    assert families.get("classifier").recognise(exported).assumed == ""


def test_arithmetic_before_the_first_layer_is_found_and_none_behind_it(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            helper.make_node("Mul", ["small", "t"], ["m"]),
            helper.make_node("Sub", ["m", "one"], ["s"]),
            helper.make_node("Relu", ["s"], ["r"]),
            helper.make_node("Mul", ["r", "small"], ["u"]),
            helper.make_node("ReduceMean", ["u"], ["out"], axes=[2, 3], keepdims=0),
        ],
        [("x", FLOAT, [1, 8, 8, 3])],
        [("out", FLOAT, [1, 3])],
        [("small", np.array(1 / 127.5, np.float32)), ("one", np.array([1.0], np.float32))],
    )
    head = describe(open_onnx(path)).head
    assert [op for op, _ in head] == ["Mul", "Sub"]
    assert head[0][1][0] == pytest.approx(1 / 127.5)
    assert scaling(describe(open_onnx(path))).scale == 1


def test_a_sum_of_two_branches_is_no_scaling(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["d"]), helper.make_node("Relu", ["d"], ["out"])],
        [("x", FLOAT, [1, 3, 8, 8])],
        [("out", FLOAT, [1, 3, 8, 8])],
    )
    assert describe(open_onnx(path)).head == ()


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("shape", [(4, 70, 9), (2, 1, 1), (30, 64, 5), (3, 130, 33)])
def test_the_best_class_of_each_cell_is_that_of_an_argmax(shape, last):
    scores = np.round(np.random.default_rng(1).random(shape), 1).astype(np.float32)  # with equals
    given = np.ascontiguousarray(scores.transpose(1, 2, 0)) if last else scores
    np.testing.assert_array_equal(best_classes(given, last=last), scores.argmax(axis=0))
    given[(-1, -1, 0) if last else (0, -1, -1)] = np.nan
    assert best_classes(given, last=last) is None
