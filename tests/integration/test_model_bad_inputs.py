"""What people upload by mistake: each is refused with a reason and a sentence, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.helper
import pytest
from onnx import numpy_helper

from runtime.model import child, package
from runtime.model.pack import PackOptions
from tests.unit.model.graphs import constant_rows, echo
from wire.reasons import Reason

SIZE = 32
ROWS = 16 + 4 + 1


def rows(*detections):
    """Undecoded YOLOX rows of two classes: (cell, objectness, class 0, class 1)."""
    table = np.zeros((ROWS, 7), np.float32)
    for cell, objectness, first, second in detections:
        table[cell] = [0.5, 0.5, 0.0, 0.0, objectness, first, second]
    return table


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return str(path)


@pytest.fixture
def packed(tmp_path, picture):
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0.9, 0.1), (18, 0.8, 0.1, 0.9)))
    verdict = child.pack(source, tmp_path / "m.pkg", PackOptions(golden=picture))
    assert verdict.ok, verdict.message
    return Path(verdict.card["directory"])


def refuse(tmp_path, source, **options):
    """The verdict on a file that must not be packed."""
    before = {path.name for path in tmp_path.iterdir()} - {"cache"}
    options.setdefault("no_golden", True)
    verdict = child.pack(source, tmp_path / "out.pkg", PackOptions(**options))
    assert not verdict.ok
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == before, "nothing is left behind"
    return verdict


def test_a_good_model_is_packed_and_its_golden_image_found_again(packed):
    verdict = child.check(packed)
    assert verdict.ok, verdict.message
    assert verdict.card["golden"]["detections"] == 2
    assert verdict.card["family"] == "yolox"
    assert verdict.card["digest"] == package.digest(packed)


def test_packing_without_a_golden_image_stays_visible(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    verdict = child.pack(source, tmp_path / "m.pkg", PackOptions(no_golden=True))
    assert "present = false" in (tmp_path / "m.pkg" / package.MODEL_TOML).read_text()
    assert Reason.GOLDEN_ABSENT.text in verdict.card["notes"]
    checked = child.check(tmp_path / "m.pkg")
    assert checked.card["golden"]["present"] is False
    assert Reason.GOLDEN_ABSENT.text in checked.card["notes"]


def test_packing_without_golden_image_and_without_saying_so_is_refused(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    verdict = refuse(tmp_path, source, no_golden=False)
    assert verdict.reason == Reason.GOLDEN_ABSENT.value
    assert "--no-golden" in verdict.message


def test_what_is_not_onnx_is_refused_with_every_other_problem(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"hello, I am a picture of a cat")
    verdict = refuse(tmp_path, tmp_path / "m.onnx", no_golden=False)
    assert [problem["reason"] for problem in verdict.problems] == ["model-not-onnx", "golden-absent"]


def test_a_file_that_breaks_off_is_refused(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    source.write_bytes(source.read_bytes()[:-200])
    assert refuse(tmp_path, source).reason == Reason.MODEL_NOT_ONNX.value


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    assert refuse(tmp_path, tmp_path / "m.onnx").reason == Reason.MODEL_NOT_ONNX.value


def test_outputs_of_no_family_are_refused_with_what_each_expects(tmp_path):
    def five_axes(model):
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
        model.graph.node[-1].output[0] = "inner"
        model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["inner", "first"], ["deep"]))
        model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["deep", "first"], ["output"]))
        model.graph.output[0].type.tensor_type.ClearField("shape")

    verdict = refuse(tmp_path, changed(tmp_path, five_axes))
    assert verdict.reason == Reason.FAMILY_UNKNOWN.value
    assert "output [" in verdict.message
    assert "nanodet: two outputs" in verdict.message


def test_outputs_that_are_not_the_named_familys_are_refused(tmp_path):
    verdict = refuse(tmp_path, constant_rows(tmp_path / "m.onnx", rows()), family="nanodet")
    assert verdict.reason == Reason.MODEL_OUTPUTS.value


def test_a_family_nobody_knows_is_refused(tmp_path):
    verdict = refuse(tmp_path, constant_rows(tmp_path / "m.onnx", rows()), family="yollox")
    assert verdict.reason == Reason.FAMILY_UNKNOWN.value
    assert "did you mean 'yolox'" in verdict.message


def test_too_few_labels_are_refused(tmp_path):
    verdict = refuse(tmp_path, constant_rows(tmp_path / "m.onnx", rows()), labels=["cat"])
    assert verdict.reason == Reason.MODEL_LABELS.value
    assert "1 labels for 2 classes" in verdict.message


def test_a_too_new_opset_is_refused(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    model = onnx.load(str(source))
    model.opset_import[0].version = 999
    source.write_bytes(model.SerializeToString())
    verdict = refuse(tmp_path, source)
    assert "opset 999" in verdict.message
    assert "opset_version=17" in verdict.message


def test_an_absurd_input_size_is_refused(tmp_path):
    verdict = refuse(tmp_path, echo(tmp_path / "m.onnx", shape=(1, 3, 100_000, 100_000)))
    assert verdict.reason == Reason.MODEL_INPUTS.value


def test_an_open_input_size_asks_for_one(tmp_path):
    verdict = refuse(tmp_path, echo(tmp_path / "m.onnx", shape=(1, 3, "h", "w")))
    assert "--size" in verdict.message


def test_weights_that_are_not_beside_the_graph_are_refused(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    model = onnx.load(str(source))
    onnx.save(model, str(source), save_as_external_data=True, location="weights.data", size_threshold=64)
    (tmp_path / "weights.data").unlink()
    verdict = refuse(tmp_path, source)
    assert "weights.data" in verdict.message


def test_weights_beside_the_graph_are_taken_along(tmp_path, picture):
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0.9, 0.1)))
    model = onnx.load(str(source))
    onnx.save(model, str(source), save_as_external_data=True, location="weights.data", size_threshold=64)
    verdict = child.pack(source, tmp_path / "out.pkg", PackOptions(golden=picture))
    assert verdict.ok, verdict.message
    assert (tmp_path / "out.pkg" / "weights.data").is_file()


def test_an_open_batch_is_kept_open(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0.9, 0.1)), batch=None)
    verdict = child.pack(source, tmp_path / "out.pkg", PackOptions(no_golden=True))
    assert verdict.ok, verdict.message
    assert verdict.card["input"]["batch"] is None


def test_a_broken_promise_is_told_with_figures(packed):
    path = packed / "golden" / "expected.json"
    promise = json.loads(path.read_text())
    promise["class_ids"][0] = 1 - promise["class_ids"][0]
    path.write_text(json.dumps(promise))
    verdict = child.check(packed)
    assert verdict.reason == Reason.GOLDEN_MISMATCH.value
    assert "1 of 2 detections found again" in verdict.message


def test_an_engine_that_does_not_exist_is_refused(packed):
    verdict = child.check(packed, engine="onnxruntme")
    assert verdict.reason == Reason.ENGINE_UNAVAILABLE.value
    assert "did you mean 'onnxruntime'" in verdict.message


def test_a_native_crash_becomes_a_verdict(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text(f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    verdict = child.run(["crashing"], deadline_s=30)
    assert not verdict.ok
    assert "SIGSEGV" in verdict.message


def test_a_child_that_hangs_is_ended(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "no verdict within" in child.run(["hanging"], deadline_s=0.5).message


def test_a_folder_that_is_no_package_is_never_replaced(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows())
    (tmp_path / "out.pkg").mkdir()
    (tmp_path / "out.pkg" / "thesis.txt").write_text("years of work")
    verdict = refuse(tmp_path, source, replace=True)
    assert "no package" in verdict.message
    assert (tmp_path / "out.pkg" / "thesis.txt").is_file()


def test_a_package_is_replaced_where_asked(tmp_path, packed):
    before = package.digest(packed)
    options = PackOptions(no_golden=True, replace=True, labels=["cat", "dog"])
    assert child.pack(tmp_path / "m.onnx", packed, options).ok
    assert package.digest(packed) != before
    assert sorted(p.name for p in tmp_path.iterdir() if "partial" in p.name) == []


# --- what is wrong inside the graph -----------------------------------------------------------------------------------


def changed(tmp_path, change):
    """A good graph with something done to it."""
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0.9, 0.1)))
    model = onnx.load(str(source))
    change(model)
    source.write_bytes(model.SerializeToString())
    return source


def weights(model):
    return next(tensor for tensor in model.graph.initializer if tensor.name == "rows")


def poison(model, value=np.nan):
    tensor = weights(model)
    content = numpy_helper.to_array(tensor).copy()
    content[0, 5, 2] = value
    tensor.CopyFrom(numpy_helper.from_array(content, tensor.name))


def foreign_operator(model):
    model.graph.node[0].domain = "com.acme"
    model.graph.node[0].op_type = "Magic"
    del model.graph.node[0].attribute[:]
    model.opset_import.append(onnx.helper.make_opsetid("com.acme", 1))


def unknown_operator(model):
    model.graph.node[0].op_type = "Magic"
    del model.graph.node[0].attribute[:]


def outside(place, **entries):
    def change(model):
        tensor = weights(model)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": place, **entries}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)

    return change


def gigapixels(model):
    height, width = model.graph.input[0].type.tensor_type.shape.dim[2:]
    height.dim_value = width.dim_value = 100_000


def too_large(model):
    """An output of 4 TB."""
    shape = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.0])
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**12], np.int64), "shape"))
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["shape"], ["huge"], value=shape))
    model.graph.output.append(onnx.helper.make_tensor_value_info("huge", onnx.TensorProto.FLOAT, [10**12]))


GRAPHS = [
    (foreign_operator, Reason.MODEL_OPERATOR, "the operator com.acme:Magic"),
    (unknown_operator, Reason.MODEL_OPERATOR, "the operator Magic"),
    (lambda model: setattr(model.opset_import[0], "version", 999), Reason.MODEL_OPSET, "opset 999"),
    (lambda model: setattr(model.opset_import[0], "version", 5), Reason.MODEL_OPSET, "opset_version=17"),
    (poison, Reason.MODEL_NAN, "not numbers"),
    (outside("gone.data"), Reason.MODEL_WEIGHTS, "gone.data"),
    (outside("../../../etc/passwd"), Reason.MODEL_WEIGHTS, "a path beside the graph"),
    (outside("short.data", offset=0, length=588), Reason.MODEL_WEIGHTS, "within its 16 bytes"),
    (outside("short.data", offset=-5, length=8), Reason.MODEL_WEIGHTS, "within its 16 bytes"),
    (outside("short.data", offset=2**62), Reason.MODEL_WEIGHTS, "within its 16 bytes"),
    (outside("short.data", length="many"), Reason.MODEL_WEIGHTS, "within its 16 bytes"),
    (gigapixels, Reason.MODEL_INPUTS, "100000"),
]
NAMES = [
    "foreign-operator", "unknown-operator", "opset-too-new", "opset-too-old", "nan", "weights-gone", "weights-elsewhere",
    "weights-short", "weights-before", "weights-beyond", "weights-no-number", "gigapixels",
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason", "words"), GRAPHS, ids=NAMES)
def test_a_graph_that_cannot_serve_is_not_packed(tmp_path, picture, change, reason, words):
    (tmp_path / "short.data").write_bytes(b"0123456789abcdef")
    verdict = refuse(tmp_path, changed(tmp_path, change), no_golden=False, golden=picture)
    assert verdict.reason == reason.value
    assert words in verdict.message
    assert "partial" not in verdict.message, "no path of the packer's own"


@pytest.mark.parametrize(("change", "reason", "words"), GRAPHS, ids=NAMES)
def test_a_graph_that_cannot_serve_does_not_pass_the_check(tmp_path, packed, change, reason, words):
    """As a package that another machine has packed, or that was changed since."""
    (packed / "short.data").write_bytes(b"0123456789abcdef")
    (packed / "model.onnx").write_bytes(changed(tmp_path, change).read_bytes())
    verdict = child.check(packed)
    assert verdict.reason == reason.value
    assert words in verdict.message


def poison_what_is_not_looked_at(model):
    """A class score of a row without objectness, and so of no candidate."""
    tensor = weights(model)
    content = numpy_helper.to_array(tensor).copy()
    content[0, 0, 4:7] = 0, np.nan, np.nan
    tensor.CopyFrom(numpy_helper.from_array(content, tensor.name))


@pytest.mark.parametrize("change", [poison, poison_what_is_not_looked_at])
def test_weights_that_are_no_numbers_are_found_without_a_golden_image(tmp_path, change):
    verdict = refuse(tmp_path, changed(tmp_path, change))
    assert verdict.reason == Reason.MODEL_NAN.value


def test_an_output_larger_than_any_memory_is_told_as_that(tmp_path):
    assert refuse(tmp_path, changed(tmp_path, too_large)).reason == Reason.OUT_OF_MEMORY.value


@pytest.mark.parametrize(
    ("name", "old", "new", "reason", "words"),
    [
        ("model.toml", "width = 32", "width = 100000", Reason.PACKAGE_INVALID, "input.width"),
        ("model.toml", "height = 32", "height = 64", Reason.MODEL_INPUTS, "as model.toml says"),
        ("model.toml", "schema = 1", "schema = [", Reason.PACKAGE_INVALID, "cannot be read"),
        ("golden/expected.json", '"schema": 1', "", Reason.PACKAGE_INVALID, "pack the model again"),
    ],
)
def test_a_changed_file_of_a_package_is_refused(packed, name, old, new, reason, words):
    text = (packed / name).read_text()
    assert old in text
    (packed / name).write_text(text.replace(old, new))
    verdict = child.check(packed)
    assert verdict.reason == reason.value
    assert words in verdict.message


def test_another_number_of_labels_does_not_pass_the_check(tmp_path):
    source = constant_rows(tmp_path / "m.onnx", rows((5, 0.9, 0.9, 0.1)))
    assert child.pack(source, tmp_path / "m.pkg", PackOptions(no_golden=True, labels=["cat", "dog"])).ok
    (tmp_path / "m.pkg" / "labels.txt").write_text("cat\ndog\nbird\n")
    verdict = child.check(tmp_path / "m.pkg")
    assert verdict.reason == Reason.MODEL_LABELS.value
    assert "3 labels for 2 classes" in verdict.message
