import dataclasses

import numpy as np
import pytest

from runtime import masks
from runtime.errors import ModelRefused
from runtime.model import families
from runtime.model.families.family import Graph, Port
from runtime.model.geometry import place
from runtime.model.spec import ModelSpec, Task
from runtime.results import NoAnswer
from wire.reasons import Reason

SIZE = 64
CELLS = 64 + 16 + 4
NAMES = {"names": "['cat', 'dog']"}


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
    "yolo segment": graph((1, 4 + 2 + 3, CELLS), (1, 3, 16, 16)),
    "yolo segment v5": graph((1, 3 * CELLS, 5 + 2 + 3), (1, 3, 16, 16)),
    "yolo pose": graph((1, 4 + 2 + 6, CELLS), metadata={"task": "pose", "kpt_shape": "[2, 3]"}),
    "yolo obb": graph((1, 4 + 2 + 1, CELLS), metadata={"task": "obb"}),
    "yolo-end2end": graph((1, 30, 6), ops=["TopK"], metadata=NAMES),
    "yolo-end2end segment": graph((1, 30, 9), (1, 3, 16, 16), ops=["TopK"], metadata=NAMES),
    "yolo-end2end obb": graph((1, 30, 7), ops=["TopK"], metadata={**NAMES, "task": "obb"}),
    "classifier": graph((1, 2)),
    "classifier 4d": graph((1, 2, 1, 1)),
    "embedding": graph((1, 2), names=["embedding"]),
}
"""A case for each family and form of it; the first word is the family."""
WITH_BOXES = sorted(set(GRAPHS) - {"rfdetr", "classifier", "classifier 4d", "embedding"})


def family_of(name):
    return name.split()[0]


def loaded(name, found=None, **decode):
    """The decoder of a family for its graph here, on an image twice as large."""
    found = found or GRAPHS[name]
    family = families.get(family_of(name))
    match = family.recognise(found)
    labels = () if name == "embedding" else ("cat", "dog")
    spec = ModelSpec("m", match.task, family.name, match.input, match.decode, labels)
    options = {**match.decode.options, **decode.pop("options", {})}
    spec = dataclasses.replace(spec, decode=dataclasses.replace(spec.decode, **decode, options=options))
    assert family.check(found.outputs, spec) == []
    return family.decoder(found.outputs, spec), place(match.input, 2 * SIZE, 2 * SIZE)


def empty(name):
    return [np.zeros(port.shape, np.float32) for port in GRAPHS[name].outputs]


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_graph_is_recognised_as_its_family_alone(name):
    assert [match.family for match in families.recognise(GRAPHS[name])] == [family_of(name)]


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"embedding"}))
def test_why_a_family_was_chosen_is_said(name):
    (match,) = families.recognise(GRAPHS[name])
    assert match.classes == 2
    assert "2" in match.why or "3 class logits" in match.why or "box, score and class" in match.why


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_outputs_of_another_family_are_a_problem_that_quotes_both(name):
    other = GRAPHS["nanodet" if name != "nanodet" else "yolox"]
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec("m", match.task, family_of(name), match.input, match.decode)
    (problem,) = families.get(family_of(name)).check(other.outputs, spec)
    assert problem.reason is Reason.MODEL_OUTPUTS
    assert "out0" in problem.message
    assert families.get(family_of(name)).expects in problem.expected


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_wrong_number_of_labels_is_a_problem(name):
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec(
        "m", match.task, family_of(name), match.input, match.decode, ("one", "two", "three", "four")
    )
    (problem,) = families.get(family_of(name)).check(GRAPHS[name].outputs, spec)
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


@pytest.mark.parametrize("name", WITH_BOXES)
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


def row_of(name, index, *values):
    """Outputs of a head with one line of values, in the form of the graph."""
    outputs = empty(name)
    if outputs[0].shape[2] == CELLS:
        outputs[0][0, :, index] = values
    else:
        outputs[0][0, index] = values
    return outputs


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("yolo segment", (32, 32, 16, 16, 0.1, 0.7, 0, 1, 0)),
        ("yolo segment v5", (32, 32, 16, 16, 1.0, 0.1, 0.7, 0, 1, 0)),
        ("yolo-end2end segment", (24, 24, 40, 40, 0.7, 1, 0, 1, 0)),
    ],
)
def test_a_mask_is_coefficients_times_prototypes_cut_to_the_box(name, values):
    outputs = row_of(name, 7, *values)
    outputs[1][0, 1] = -1
    outputs[1][0, 1, :8] = 1  # the upper half of the picture
    decoder, geometry = loaded(name)
    (answer,) = decoder(outputs, [geometry])
    assert one(answer) == ("dog", 0.7, pytest.approx([48, 48, 80, 80], abs=1e-3))
    assert masks.bounds(answer.masks[0]) == (48, 48, 80, 64)


def test_a_detection_with_an_empty_mask_is_none():
    outputs = row_of("yolo segment", 7, 32, 32, 16, 16, 0.1, 0.7, 0, 1, 0)
    outputs[1][0, 1] = -1
    decoder, geometry = loaded("yolo segment")
    (answer,) = decoder(outputs, [geometry])
    assert len(answer) == 0
    assert answer.masks == ()


def test_keypoints_are_moved_to_the_picture_and_clipped():
    decoder, geometry = loaded("yolo pose")
    outputs = row_of("yolo pose", 7, 32, 32, 16, 16, 0.1, 0.7, 30, 20, 0.9, 70, 10, 0.2)
    (answer,) = decoder(outputs, [geometry])
    np.testing.assert_allclose(answer.keypoints, [[[60, 40, 0.9], [128, 20, 0.2]]], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("yolo obb", (32, 32, 16, 8, 0.1, 0.7, np.pi / 2)),
        ("yolo-end2end obb", (32, 32, 16, 8, 0.7, 1, np.pi / 2)),
    ],
)
def test_an_oriented_box_has_its_outer_box(name, values):
    decoder, geometry = loaded(name)
    (answer,) = decoder(row_of(name, 7, *values), [geometry])
    assert one(answer) == ("dog", 0.7, pytest.approx([56, 48, 72, 80], abs=1e-3))
    np.testing.assert_allclose(answer.oriented, [[64, 64, 32, 16, np.pi / 2]], atol=1e-5)


def test_a_suppressed_oriented_box_still_suppresses_others():
    (output,) = empty("yolo obb")
    for i, x in enumerate((20, 26, 32)):
        output[0, :, i] = [x, 32, 32, 16, 0.9 - 0.1 * i, 0, 0]
    decoder, geometry = loaded("yolo obb", iou_threshold=0.5)
    (answer,) = decoder([output], [geometry])
    assert answer.scores.tolist() == pytest.approx([0.9])


def test_a_finished_row_is_not_suppressed():
    (output,) = empty("yolo-end2end")
    output[0, 0] = [10, 10, 20, 20, 0.9, 1]
    output[0, 1] = [10, 10, 20, 20, 0.8, 0]
    output[0, 2] = [10, 10, 20, 20, 0.7, 1]
    decoder, geometry = loaded("yolo-end2end")
    (answer,) = decoder([output], [geometry])
    assert answer.class_names == ("dog", "cat", "dog")


def test_logits_of_a_classifier_go_through_softmax_and_scores_do_not():
    decoder, geometry = loaded("classifier")
    (answer,) = decoder([np.array([[0, np.log(3)]], np.float32)], [geometry])
    assert answer.top(1) == ((1, "dog", pytest.approx(0.75)),)
    ended = dataclasses.replace(GRAPHS["classifier"], makers={"out0": "Softmax"})
    decoder, geometry = loaded("classifier", ended)
    (answer,) = decoder([np.array([[0.25, 0.75]], np.float32)], [geometry])
    assert answer.classes.tolist() == [0.25, 0.75]


def test_a_graph_that_ends_in_sigmoids_has_several_labels():
    ended = dataclasses.replace(GRAPHS["classifier"], makers={"out0": "Sigmoid"})
    assert families.get("classifier").recognise(ended).task is Task.MULTI_LABEL


def test_an_embedding_has_length_one():
    decoder, geometry = loaded("embedding")
    (answer,) = decoder([np.array([[3, 4]], np.float32)], [geometry])
    assert answer.embedding.tolist() == pytest.approx([0.6, 0.8])


def test_a_segmentation_export_is_not_taken_for_a_detector():
    assert families.recognise(graph((1, 6, CELLS), metadata={"task": "segment"})) == []


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(ModelRefused, match="did you mean 'yolox'"):
        families.get("yolx")
