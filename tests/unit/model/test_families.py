import dataclasses
import importlib.metadata

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
    outputs = [Port((names or [f"out{i}" for i in range(12)])[i], shape) for i, shape in enumerate(shapes)]
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
    "nanodet-plus": graph((1, CELLS + 1, 2 + 32)),
    "picodet": graph(
        *[(1, cells, 2) for cells in (64, 16, 4, 1)], *[(1, cells, 32) for cells in (64, 16, 4, 1)]
    ),
    "rfdetr segment": graph((1, 5, 4), (1, 5, 3), (1, 5, 8, 8), names=["dets", "labels", "masks"]),
    "rtdetr": graph((1, 5, 2), (1, 5, 4), names=["logits", "pred_boxes"]),
    "rtdetr finished": graph((1, 5), (1, 5, 4), (1, 5), names=["labels", "boxes", "scores"]),
    "rtdetr joined": graph((1, 5, 6), metadata={"description": "Ultralytics RT-DETR-l model"}),
    "segmentation": graph((1, 2, 32, 32)),
    "segmentation nhwc": graph((1, 64, 64, 2)),
    "classifier": graph((1, 2)),
    "classifier 4d": graph((1, 2, 1, 1)),
    "embedding": graph((1, 2), names=["embedding"]),
}
"""A case for each family and form of it; the first word is the family."""
FACES = {
    "ultraface": graph((1, 1200, 2), (1, 1200, 4)),
    "yunet": graph(
        *[(1, cells, columns) for columns in (1, 1, 4, 10) for cells in (64, 16, 4)],
        names=[f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)],
    ),
    "yunet priors": graph((1, 8 * 8 * 3 + 4 * 4 * 2 + 2 * 2 * 2 + 3, 14), (1, 235, 2), (1, 235, 1)),
    "movenet": graph((1, 1, 17, 3)),
    "movenet several": graph((1, 6, 56)),
}
FACES["db"] = dataclasses.replace(graph((1, 1, SIZE, SIZE)), makers={"out0": "Sigmoid"})
GRAPHS["ctc"] = graph((1, 10, 13), metadata={"character": "\n".join("ABCDEFGHIJKL")})
"""As above, of one class."""
GRAPHS |= FACES
WITHOUT_BOXES = {"classifier", "embedding", "segmentation", "ctc"}
LOGITS = {"rfdetr", "rfdetr segment", "rtdetr"}
"""Where a score of 0 is no logit of 0."""
WITH_BOXES = sorted(name for name in GRAPHS if name.split()[0] not in WITHOUT_BOXES and name not in LOGITS)


def family_of(name):
    return name.split()[0]


def loaded(name, found=None, **decode):
    """The decoder of a family for its graph here, on an image twice as large."""
    found = found or GRAPHS[name]
    family = families.get(family_of(name))
    match = family.recognise(found)
    labels = () if name in ("embedding", "ctc") else match.labels if name in FACES else ("cat", "dog")
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


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"embedding", "ctc"}))
def test_why_a_family_was_chosen_is_said(name):
    (match,) = families.recognise(GRAPHS[name])
    assert match.classes == (1 if name in FACES else 80 if name == "rtdetr finished" else 2)
    assert (
        name in FACES
        or "finished" in name
        or "2" in match.why
        or "3 class logits" in match.why
        or "box, score and class" in match.why
    )


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_outputs_of_another_family_are_a_problem_that_quotes_both(name):
    other = GRAPHS["nanodet" if name != "nanodet" else "yolox"]
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec("m", match.task, family_of(name), match.input, match.decode)
    (problem,) = families.get(family_of(name)).check(other.outputs, spec)
    assert problem.reason is Reason.MODEL_OUTPUTS
    assert "out0" in problem.message
    assert families.get(family_of(name)).expects in problem.expected


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"rtdetr finished"}))
def test_a_wrong_number_of_labels_is_a_problem(name):
    (match,) = families.recognise(GRAPHS[name])
    spec = ModelSpec(
        "m", match.task, family_of(name), match.input, match.decode, ("one", "two", "three", "four")
    )
    (problem,) = families.get(family_of(name)).check(GRAPHS[name].outputs, spec)
    assert problem.reason is Reason.MODEL_LABELS


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_values_that_are_no_numbers_are_no_answer(name):
    for i, port in enumerate(GRAPHS[name].outputs):
        if port.name == "labels" and name == "rtdetr finished":
            continue  # whole numbers
        outputs = [np.full(port.shape, 0.9, np.float32) for port in GRAPHS[name].outputs]
        outputs[i][..., -1] = np.nan
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


def test_masks_of_rfdetr_are_not_cut_to_the_box():
    boxes, logits = np.full((1, 5, 4), 0.25, np.float32), np.full((1, 5, 3), -9, np.float32)
    maps = np.full((1, 5, 8, 8), -1, np.float32)
    logits[0, 2] = [-9, 2, 9]
    maps[0, 2, :4] = 1
    decoder, geometry = loaded("rfdetr segment")
    (answer,) = decoder([boxes, logits, maps], [geometry])
    assert masks.bounds(answer.masks[0]) == (0, 0, 128, 64)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("rtdetr", ([[-9, 2]], [[0.5, 0.5, 0.25, 0.125]])),
        ("rtdetr finished", ([1], [[0.375, 0.4375, 0.625, 0.5625]], [1 / (1 + np.exp(-2))])),
        ("rtdetr joined", ([[0.5, 0.5, 0.25, 0.125, 0, 1 / (1 + np.exp(-2))]],)),
    ],
)
def test_the_forms_of_rtdetr_mean_the_same(name, outputs):
    filled = [np.full(port.shape, -9, np.float32) for port in GRAPHS[name].outputs]
    for output, values in zip(filled, outputs, strict=True):
        output[0, 2:3] = values
    decoder, geometry = loaded(name)
    (answer,) = decoder(filled, [geometry])
    assert one(answer) == ("dog", 1 / (1 + np.exp(-2)), pytest.approx([48, 56, 80, 72], abs=1e-3))


def test_boxes_of_rtdetr_are_pixels_where_the_graph_was_told_a_size():
    sized = dataclasses.replace(GRAPHS["rtdetr finished"], sized=True)
    assert families.get("rtdetr").recognise(sized).decode.options["boxes"] == "pixels"


def test_nanodet_plus_counts_from_the_corner_of_a_cell():
    (output,) = empty("nanodet-plus")
    output[0, 5, 1] = 0.8
    output[0, 5, 2:] = -50
    for side, bin_ in enumerate((1, 0, 1, 2)):
        output[0, 5, 2 + side * 8 + bin_] = 50
    decoder, geometry = loaded("nanodet-plus")
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("dog", 0.8, pytest.approx([64, 0, 96, 32], abs=1e-3))


def test_ultraface_scales_the_shares_and_passes_the_background_over():
    scores, boxes = empty("ultraface")
    scores[0, :, 0] = 0.99
    scores[0, 7] = [0.2, 0.8]
    boxes[0, 7] = [0.25, 0.5, 0.5, 0.75]
    decoder, geometry = loaded("ultraface")
    (answer,) = decoder([scores, boxes], [geometry])
    assert one(answer) == ("face", 0.8, pytest.approx([32, 64, 64, 96], abs=1e-3))


def test_yunet_is_the_root_of_class_and_objectness_with_landmarks_of_the_cell():
    outputs = dict(zip([p.name for p in GRAPHS["yunet"].outputs], empty("yunet"), strict=True))
    outputs["cls_16"][0, 5], outputs["obj_16"][0, 5] = 0.9, 0.4
    outputs["bbox_16"][0, 5] = [0.5, 0.5, np.log(2), 0]
    outputs["kps_16"][0, 5, :2] = [0.25, 0.75]
    decoder, geometry = loaded("yunet", score_threshold=0.5)
    (answer,) = decoder(list(outputs.values()), [geometry])
    assert one(answer) == ("face", 0.6, pytest.approx([16, 32, 80, 64], abs=1e-3))
    assert answer.keypoints[0, 0].tolist() == pytest.approx([40, 56, 0.6])


def test_yunet_with_priors_moves_them_by_their_variance():
    loc, conf, iou = empty("yunet priors")
    conf[0, 4, 1], iou[0, 4] = 0.9, 0.4  # the second cell of stride 8, its prior of 16 pixels
    loc[0, 4, :4] = [10, 0, np.log(2) / 0.2, 0]
    decoder, geometry = loaded("yunet priors", score_threshold=0.5)
    (answer,) = decoder([loc, conf, iou], [geometry])
    assert one(answer) == ("face", 0.6, pytest.approx([24, 0, 88, 24], abs=1e-3))


def test_the_persons_box_goes_around_the_keypoints_that_are_seen():
    (output,) = empty("movenet")
    output[..., 2] = 0.1
    output[0, 0, 5] = [0.25, 0.5, 0.8]
    output[0, 0, 6] = [0.5, 0.75, 0.6]
    decoder, geometry = loaded("movenet", score_threshold=0.15)
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("person", (0.8 + 0.6 + 15 * 0.1) / 17, [64, 32, 96, 64])


def test_each_of_several_persons_brings_a_box():
    (output,) = empty("movenet several")
    output[0, 2, 51:] = [0.25, 0.5, 0.5, 0.75, 0.8]
    decoder, geometry = loaded("movenet several")
    (answer,) = decoder([output], [geometry])
    assert one(answer) == ("person", 0.8, [64, 32, 96, 64])


@pytest.mark.parametrize("name", ["segmentation", "segmentation nhwc"])
def test_a_class_map_has_the_pictures_size(name):
    (output,) = empty(name)
    if name == "segmentation":
        output[0, 1, :16] = 1
    else:
        output[0, :32, :, 1] = 1
    decoder, geometry = loaded(name)
    (answer,) = decoder([output], [geometry])
    assert answer.semantic.shape == (128, 128)
    assert answer.semantic[:64].all()
    assert not answer.semantic[64:].any()


def test_the_padding_of_a_letterbox_is_cut_away_from_a_class_map():
    (output,) = empty("segmentation")
    output[0, 1, 8:24] = 1  # the middle half: all of a picture twice as wide as high
    decoder, _ = loaded("segmentation")
    found = GRAPHS["segmentation"]
    spec = dataclasses.replace(families.get("segmentation").recognise(found).input, resize="letterbox")
    match = families.get("segmentation").recognise(found)
    decoder = families.get("segmentation").decoder(
        found.outputs, ModelSpec("m", match.task, "segmentation", spec, match.decode)
    )
    (answer,) = decoder([output], [place(spec, 96, 48)])
    assert answer.semantic.shape == (48, 96)
    assert answer.semantic.all()


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


def test_a_line_of_text_grows_from_its_core_and_points_along_the_writing():
    (output,) = empty("db")
    output[0, 0, 30:35, 10:40] = 0.9
    decoder, geometry = loaded("db")
    (answer,) = decoder([output], [geometry])
    x, y, w, h, angle = answer.oriented[0]
    assert (x, y) == pytest.approx((49, 64), abs=2)
    core_w, core_h = (
        30,
        5,
    )  # the core one pixel larger by the dilation, both then grown by area x 1.6 / half the circumference
    grown = core_w * core_h * 1.6 / (core_w + core_h)
    assert (w, h) == pytest.approx((2 * (core_w + grown), 2 * (core_h + grown)), abs=3)
    assert angle == pytest.approx(0, abs=1e-3)
    assert answer.scores[0] == pytest.approx(0.9, abs=0.2)


def test_lines_of_text_come_in_reading_order():
    (output,) = empty("db")
    for top, left in ((40, 4), (10, 34), (11, 4)):
        output[0, 0, top : top + 5, left : left + 20] = 0.9
    decoder, geometry = loaded("db")
    (answer,) = decoder([output], [geometry])
    assert [round(float(y) / 20) for y in answer.oriented[:, 1]] == [1, 1, 4]
    assert answer.oriented[0, 0] < answer.oriented[1, 0]


def test_a_reader_leaves_repeats_and_blanks_out():
    (output,) = empty("ctc")
    for step, class_id in enumerate((0, 1, 1, 0, 1, 2, 2, 0, 0, 12)):
        output[0, step, class_id] = 0.8
    decoder, geometry = loaded("ctc")
    (answer,) = decoder([output], [geometry])
    assert answer.texts == ("AABL",)
    assert answer.scores[0] == pytest.approx(0.8)


class Shouting:
    """A family of another distribution: a graph whose output is called shout."""

    name = "shouting"
    expects = "an output called shout"

    def recognise(self, graph, *, named=False):
        if [port.name for port in graph.outputs] != ["shout"]:
            return None
        match = families.get("classifier").recognise(graph, named=True)
        return dataclasses.replace(match, family=self.name, why="an output called shout")

    def __getattr__(self, name):
        return getattr(families.get("classifier"), name)


@pytest.fixture
def plugin(monkeypatch):
    """The entry point as an installed distribution would bring it."""
    entry = importlib.metadata.EntryPoint("shouting", f"{__name__}:Shouting", families.ENTRY_POINTS)
    broken = importlib.metadata.EntryPoint("broken", "no.such.module:Thing", families.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry, broken])


def test_a_family_of_another_distribution_joins_by_its_entry_point(plugin):
    assert "shouting" in families.names()
    assert isinstance(families.get("shouting"), Shouting)


def test_a_family_of_another_distribution_is_recognised_though_a_third_is_broken(plugin, caplog):
    matches = families.recognise(graph((1, 2), names=["shout"]))
    assert [match.family for match in matches] == ["classifier", "shouting"]
    assert "broken" in caplog.text


def test_a_family_that_cannot_be_imported_is_named(plugin):
    with pytest.raises(ModelRefused, match=r"'broken' at no\.such\.module:Thing cannot be imported"):
        families.get("broken")
