"""Candidates chosen within the graph: the same answers as from the whole outputs, on ONNX Runtime."""

import dataclasses
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from runtime.model import families, shrink
from runtime.model.backends import on_gpu
from runtime.model.families.family import Graph, Port
from runtime.model.geometry import place
from runtime.model.shrink import append, decoder_for, plan
from runtime.model.spec import ModelSpec
from runtime.results import NoAnswer
from wire.reasons import Reason

SIZE = 64
CELLS = 64 + 16 + 4
KEEP = 40
LEVELS = (64, 16, 4)


def graph(*shapes, metadata=None):
    ports = tuple(Port(f"out{i}", shape) for i, shape in enumerate(shapes))
    return Graph(Port("images", (1, 3, SIZE, SIZE)), ports, SIZE, SIZE, ops={}, metadata=metadata or {})


HEADS = {
    "yolox": graph((1, CELLS, 7)),
    "yolo": graph((1, 6, CELLS)),
    "yolo v5": graph((1, 3 * CELLS, 7)),
    "yolo segment": graph((1, 4 + 2 + 3, CELLS), (1, 3, 16, 16)),
    "yolo pose": graph((1, 4 + 2 + 6, CELLS), metadata={"task": "pose", "kpt_shape": "[2, 3]"}),
    "yolo obb": graph((1, 4 + 2 + 1, CELLS), metadata={"task": "obb"}),
    "nanodet": graph(*[(1, n, 2) for n in LEVELS], *[(1, n, 32) for n in LEVELS]),
    "picodet": graph(*[(1, n, 2) for n in (*LEVELS, 1)], *[(1, n, 32) for n in (*LEVELS, 1)]),
    "nanodet-plus": graph((1, CELLS + 1, 2 + 32)),
}


class Stand:
    """A family's decoder beside the one behind the graph that chooses."""

    def __init__(self, name, *, opset=17, keep=KEEP, threshold=0.3, **options):
        found = HEADS[name]
        family = families.get(name.split()[0])
        match = family.recognise(found)
        decode = dataclasses.replace(match.decode, score_threshold=threshold)
        decode = dataclasses.replace(decode, options={**decode.options, **options})
        self.spec = ModelSpec("m", match.task, family.name, match.input, decode, ("cat", "dog"))
        self.geometry = place(match.input, 2 * SIZE, SIZE)
        self.whole = family.decoder(found.outputs, self.spec)
        self.shapes = [port.shape for port in found.outputs]
        self.plan = plan(family.head(found.outputs, self.spec), found.outputs, keep)
        assert self.plan is not None
        self.session = onnxruntime.InferenceSession(echoing(found.outputs, self.plan, opset))
        self.chosen = decoder_for(family.decoder(found.outputs, self.spec), self.plan, self.spec)

    def outputs(self, seed, batch=1):
        """Many boxes of many sizes, scores of which some are equal."""
        rng = np.random.default_rng(seed)
        made = [rng.random((batch, *shape[1:])).astype(np.float32) for shape in self.shapes]
        made = [np.round(output**3, 2) for output in made]
        if self.spec.family == "yolo":  # its boxes are in pixels
            made[0][:, :4] *= 1 if self.plan.head.objectness else 40
            made[0][:, :, :4] *= 40 if self.plan.head.objectness else 1
        return made

    def answers(self, outputs):
        feed = {f"in{i}": output for i, output in enumerate(outputs)}
        where = [self.geometry] * len(outputs[0])
        return self.whole(outputs, where), self.chosen(self.session.run(None, feed), where)


def echoing(ports, planned, opset):
    """A graph that answers what it is fed, with the choice behind it."""
    values = [[("batch" if i == 0 else side) for i, side in enumerate(port.shape)] for port in ports]
    nodes = [helper.make_node("Identity", [f"in{i}"], [port.name]) for i, port in enumerate(ports)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"in{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(values)],
        [
            helper.make_tensor_value_info(p.name, TensorProto.FLOAT, s)
            for p, s in zip(ports, values, strict=True)
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    assert append(model, planned)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(shrink, "LEAST_SAVED_BYTES", -(1 << 30))


def assert_same(first, second):
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.class_ids, second.class_ids)
    assert first.masks == second.masks
    for part in ("keypoints", "oriented"):
        a, b = getattr(first, part), getattr(second, part)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_answers_are_those_of_the_whole_outputs(name):
    stand = Stand(name, keep=83)
    found = 0
    for seed in range(4):
        whole, chosen = stand.answers(stand.outputs(seed))
        assert_same(whole[0], chosen[0])
        found += len(whole[0])
    assert found > 4


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_old_and_new_ways_of_writing_the_operators(opset):
    stand = Stand("yolo v5", opset=opset)
    whole, chosen = stand.answers(stand.outputs(9))
    assert_same(whole[0], chosen[0])


def test_every_picture_of_a_batch_has_its_own_rows():
    stand = Stand("yolox", keep=83)
    whole, chosen = stand.answers(stand.outputs(5, batch=3))
    for a, b in zip(whole, chosen, strict=True):
        assert_same(a, b)


def test_every_class_of_a_row_counts_where_that_is_asked():
    stand = Stand("nanodet", keep=83, multi_label=True)
    whole, chosen = stand.answers(stand.outputs(6))
    assert_same(whole[0], chosen[0])


def test_where_more_pass_than_are_kept_the_best_are_seen_and_it_is_told_once(caplog):
    stand = Stand("yolox", keep=5, threshold=0.05)
    outputs = stand.outputs(7)
    with caplog.at_level(logging.WARNING):
        whole, chosen = stand.answers(outputs)
        stand.answers(outputs)
    assert [record.message.split(":")[1][:3].strip() for record in caplog.records] == ["5"]
    assert 0 < len(chosen[0]) <= 5 < len(whole[0])
    assert chosen[0].scores[0] == whole[0].scores[0]


@pytest.mark.parametrize("name", ["yolo", "yolox", "nanodet"])
def test_a_value_that_is_no_number_is_no_answer_also_in_a_row_that_is_not_kept(name):
    stand = Stand(name, threshold=0.9)
    outputs = [np.zeros_like(output) for output in stand.outputs(1)]
    outputs[0][0, -1, -1] = np.nan
    _, (answer,) = stand.answers(outputs)
    assert isinstance(answer, NoAnswer)
    assert answer.reason is Reason.MODEL_NAN


def test_nothing_is_appended_where_little_is_saved_or_sizes_are_open(monkeypatch):
    found = HEADS["yolox"]
    head = families.get("yolox").head(found.outputs, None)
    assert plan(None, found.outputs) is None
    assert plan(head, found.outputs, keep=CELLS) is None
    assert plan(head, (Port("out0", (1, None, 7)),), KEEP) is None
    assert plan(head, (Port("out0", (1, CELLS, 7), "float16"),), KEEP) is None
    monkeypatch.setattr(shrink, "LEAST_SAVED_BYTES", 1 << 20)
    assert plan(head, found.outputs, KEEP) is None


def test_it_is_for_engines_on_a_gpu(monkeypatch):
    assert [on_gpu(name) for name in ("tensorrt", "onnxruntime-cuda", "onnxruntime-cpu", "openvino")] == [
        True,
        True,
        False,
        False,
    ]
    for providers, wanted in (
        (["CPUExecutionProvider"], False),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], True),
    ):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda found=providers: found)
        assert on_gpu("auto") is wanted


def test_an_old_opset_is_left_alone():
    model = helper.make_model(helper.make_graph([], "g", [], []), opset_imports=[helper.make_opsetid("", 10)])
    found = HEADS["yolox"]
    assert not append(model, plan(families.get("yolox").head(found.outputs, None), found.outputs, KEEP))
