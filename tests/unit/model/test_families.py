import dataclasses

import numpy as np
import pytest

from runtime.errors import ModelRefused
from runtime.model import families
from runtime.model.families.family import Graph, Port
from runtime.model.geometry import place
from runtime.model.spec import ModelSpec
from runtime.results import NoAnswer
from wire.reasons import Reason

SIZE = 64
CELLS = 64 + 16 + 4


def graph(*shapes, ops=(), names=None, metadata=None):
    outputs = [Port((names or [f"out{i}" for i in range(9)])[i], shape) for i, shape in enumerate(shapes)]
    image = Port("images", (1, 3, SIZE, SIZE))
    return Graph(image, tuple(outputs), SIZE, SIZE, ops=dict.fromkeys(ops, 1), metadata=metadata or {})


GRAPHS = {
    "yolox": graph((1, CELLS, 7)),
    "nanodet": graph(*[(1, cells, 2) for cells in (64, 16, 4)], *[(1, cells, 32) for cells in (64, 16, 4)]),
    "fastestdet": graph((1, 7, 4, 4), ops=["Softmax"]),
    "yolo": graph((1, 6, CELLS)),
    "rfdetr": graph((1, 5, 4), (1, 5, 3), names=["dets", "labels"]),
}


def loaded(name, found=None, **decode):
    """The decoder of a family for its graph here, on an image twice as large."""
    found = found or GRAPHS[name]
    match = families.get(name).recognise(found)
    spec = ModelSpec("m", match.task, name, match.input, match.decode, ("cat", "dog"))
    spec = dataclasses.replace(spec, decode=dataclasses.replace(spec.decode, **decode))
    assert families.get(name).check(found.outputs, spec) == []
    return families.get(name).decoder(found.outputs, spec), place(match.input, 2 * SIZE, 2 * SIZE)


def empty(name):
    return [np.zeros(port.shape, np.float32) for port in GRAPHS[name].outputs]


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_graph_is_recognised_as_its_family_alone(name):
    assert [match.family for match in families.recognise(GRAPHS[name])] == [name]


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_why_a_family_was_chosen_is_said(name):
    (match,) = families.recognise(GRAPHS[name])
    assert match.classes == 2
    assert "2" in match.why or "3 class logits" in match.why


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_outputs_of_another_family_are_a_problem_that_quotes_both(name):
    other = GRAPHS["nanodet" if name != "nanodet" else "yolox"]
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec("m", match.task, name, match.input, match.decode)
    (problem,) = families.get(name).check(other.outputs, spec)
    assert problem.reason is Reason.MODEL_OUTPUTS
    assert "out0" in problem.message
    assert families.get(name).expects in problem.expected


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_wrong_number_of_labels_is_a_problem(name):
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec("m", match.task, name, match.input, match.decode, ("one", "two", "three", "four"))
    (problem,) = families.get(name).check(GRAPHS[name].outputs, spec)
    assert problem.reason is Reason.MODEL_LABELS


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_values_that_are_no_numbers_are_no_answer(name):
    for i in range(len(GRAPHS[name].outputs)):
        outputs = empty(name)
        outputs[i][..., -1] = np.nan
        if name == "nanodet" and i >= 3:
            outputs[i - 3][:] = 0.9
        decoder, geometry = loaded(name)
        (answer,) = decoder(outputs, [geometry])
        assert isinstance(answer, NoAnswer)
        assert answer.reason is Reason.MODEL_NAN


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"rfdetr"}))
def test_nothing_above_the_threshold_is_an_empty_result(name):
    decoder, geometry = loaded(name)
    (answer,) = decoder(empty(name), [geometry])
    assert len(answer) == 0
    assert answer.image_wh == (2 * SIZE, 2 * SIZE)


def one(answer):
    assert len(answer) == 1
    return answer.class_names[0], pytest.approx(float(answer.scores[0]), abs=1e-5), answer.boxes[0].tolist()


def test_yolox_decodes_its_grid():
    (output,) = empty("yolox")
    output[0, 64 + 5] = [0.5, 0.5, np.log(2), np.log(1), 0.9, 0.1, 0.8]
    decoder, geometry = loaded("yolox")
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("dog", 0.72, pytest.approx([16, 32, 80, 64], abs=1e-3))


def test_yolox_with_its_grid_decoded_in_the_graph():
    (output,) = empty("yolox")
    output[0, 3] = [30, 30, 20, 10, 0.9, 0.8, 0.1]
    decoder, geometry = loaded("yolox", graph((1, CELLS, 7), ops=["Exp"]))
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("cat", 0.72, pytest.approx([40, 50, 80, 70], abs=1e-3))


def test_nanodet_takes_the_expectation_of_each_distance():
    outputs = empty("nanodet")
    outputs[1][0, 5, 1] = 0.8
    outputs[4][0, 5] = -50
    for side, bin_ in enumerate((1, 0, 1, 2)):
        outputs[4][0, 5, side * 8 + bin_] = 50
    decoder, geometry = loaded("nanodet")
    (answer,) = decoder(outputs, [geometry])
    assert one(answer) == ("dog", 0.8, pytest.approx([16, 48, 80, 112], abs=1e-3))


def test_fastestdet_decodes_its_map():
    (output,) = empty("fastestdet")
    output[0, :, 1, 2] = [0.9, 0.0, 0.0, 0.0, 0.0, 0.95, 0.05]
    decoder, geometry = loaded("fastestdet")
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("cat", 0.9**0.6 * 0.95**0.4, pytest.approx([32, 0, 96, 64], abs=32.1))


def test_yolo_v8_has_no_objectness():
    (output,) = empty("yolo")
    output[0, :, 7] = [32, 32, 16, 8, 0.1, 0.7]
    decoder, geometry = loaded("yolo")
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("dog", 0.7, pytest.approx([48, 56, 80, 72], abs=1e-3))


def test_yolo_v5_multiplies_by_objectness():
    found = graph((1, 3 * CELLS, 7))
    output = np.zeros((1, 3 * CELLS, 7), np.float32)
    output[0, 100] = [32, 32, 16, 8, 0.5, 0.1, 0.8]
    decoder, geometry = loaded("yolo", found)
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("dog", 0.4, pytest.approx([48, 56, 80, 72], abs=1e-3))


def test_rfdetr_drops_the_background_slot_of_fine_tuned_models():
    boxes, logits = np.full((1, 5, 4), 0.5, np.float32), np.full((1, 5, 3), -9, np.float32)
    logits[0, 2] = [-9, 2, 9]
    decoder, geometry = loaded("rfdetr")
    (answer,) = decoder([boxes, logits], [geometry])
    assert one(answer) == ("dog", 1 / (1 + np.exp(-2)), pytest.approx([32, 32, 96, 96], abs=1e-3))


def test_every_class_of_a_box_counts_where_asked():
    (output,) = empty("yolo")
    output[0, :, 7] = [32, 32, 16, 8, 0.6, 0.7]
    decoder, geometry = loaded("yolo", options={"multi_label": True})
    (answer,) = decoder([output], [geometry])
    assert answer.class_names == ("dog", "cat")


def test_each_image_of_a_batch_has_its_own_answer():
    outputs = np.zeros((2, 6, CELLS), np.float32)
    outputs[1, :, 7] = [32, 32, 16, 8, 0.1, 0.7]
    decoder, geometry = loaded("yolo")
    first, second = decoder([outputs], [geometry, geometry])
    assert (len(first), len(second)) == (0, 1)


def test_class_names_come_from_the_exporters_metadata():
    found = graph((1, 6, CELLS), metadata={"task": "detect", "names": "{0: 'cat', 1: 'dog'}"})
    assert families.get("yolo").recognise(found).labels == ("cat", "dog")


@pytest.mark.parametrize("names", ["__import__('os')", "{0: 'cat'}", "[1, 2]", "{"])
def test_names_that_do_not_fit_are_passed_over(names):
    found = graph((1, 6, CELLS), metadata={"task": "detect", "names": names})
    assert families.get("yolo").recognise(found).labels == ()


def test_a_segmentation_export_is_not_taken_for_a_detector():
    assert families.recognise(graph((1, 6, CELLS), metadata={"task": "segment"})) == []


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(ModelRefused, match="did you mean 'yolox'"):
        families.get("yolx")
