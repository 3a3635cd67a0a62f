"""The SDK and `outrider infer`, on small graphs made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import outrider
from outrider.cli import main
from runtime.errors import ModelRefused, SourceRefused, Transient
from runtime.model import archive
from runtime.model.preprocess import preprocessor
from runtime.model.session import LoadedModel, LoadOptions
from runtime.results import NoAnswer
from tests.integration.test_model_bad_inputs import rows
from tests.unit.model.graphs import constant_rows
from wire.reasons import Reason

PICTURE = np.full((48, 64, 3), 90, np.uint8)
HEAVY = ("scipy", "matplotlib", "supervision", "pydantic", "onnx", "tomli_w", "paho", "starlette")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def graph(tmp_path, *detections, **options):
    return constant_rows(tmp_path / "m.onnx", rows(*detections), **options)


@pytest.fixture
def onnx_file(tmp_path):
    return graph(tmp_path, (5, 0.9, 0.9, 0.1), (18, 0.8, 0.1, 0.9))


def test_an_onnx_file_is_packed_once_and_asked(onnx_file, tmp_path):
    with outrider.load(onnx_file, labels=["cat", "dog"]) as model:
        result = model.predict(PICTURE)
        digest = model.digest
    assert result.class_names == ("cat", "dog")
    assert result.scores.tolist() == pytest.approx([0.81, 0.72], abs=1e-4)
    assert result.boxes[0].tolist() == pytest.approx([16, 16, 32, 32], abs=8.1)
    with outrider.load(onnx_file, labels=["cat", "dog"]) as again:
        assert again.digest == digest
    assert len(list((tmp_path / "cache/outrider/packages").iterdir())) == 1


def test_an_archive_is_unpacked_and_asked(onnx_file, tmp_path):
    packed = tmp_path / "m.pkg"
    assert main(["model", "pack", str(onnx_file), "--no-golden", "--out", str(packed)]) == 0
    archive.pack(packed, tmp_path / "m.tar.zst")
    with outrider.load(tmp_path / "m.tar.zst") as model:
        assert len(model.predict(PICTURE)) == 2


def test_thresholds_of_the_caller_win(onnx_file):
    with outrider.load(onnx_file, score_threshold=0.75) as model:
        assert len(model.predict(PICTURE)) == 1


def test_a_result_is_handed_to_supervision_and_drawn(onnx_file):
    with outrider.load(onnx_file, labels=["cat", "dog"]) as model:
        result = model.predict(PICTURE)
    detections = result.to_supervision()
    assert detections.data["class_name"].tolist() == ["cat", "dog"]
    assert np.array_equal(detections.xyxy, result.boxes)
    drawn = result.draw(PICTURE)
    assert drawn.shape == PICTURE.shape
    assert (drawn != PICTURE).any()
    assert (PICTURE == 90).all(), "the picture itself stays as it is"


def test_values_that_are_no_numbers_are_an_error_and_no_empty_result(tmp_path):
    with outrider.load(_blinded_by_light(graph(tmp_path, (5, 0.9, 0.9, 0.1)))) as model:
        assert len(model.predict(np.full_like(PICTURE, 90))) == 1
        bright = np.full_like(PICTURE, 250)
        with pytest.raises(Transient) as caught:
            model.predict(bright)
        assert caught.value.reason is Reason.MODEL_NAN
        (answer,) = model.ask([bright])
        assert isinstance(answer, NoAnswer)


def _blinded_by_light(source):
    """The graph with NaN for pictures whose mean is above 150, as no packer sees it."""
    model = onnx.load(str(source))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([150], np.float32), "most"))
    model.graph.node[1].input[0] = "logged"
    model.graph.node.insert(1, onnx.helper.make_node("Sub", ["most", "mean"], ["left"]))
    model.graph.node.insert(2, onnx.helper.make_node("Log", ["left"], ["logged"]))
    onnx.save(model, str(source))
    return source


def test_weights_that_are_no_numbers_are_refused_before_a_picture_is_seen(tmp_path):
    with pytest.raises(ModelRefused) as refused:
        outrider.load(graph(tmp_path, (5, float("nan"), 0.9, 0.1)))
    assert refused.value.reason is Reason.MODEL_NAN


def test_what_is_no_picture_is_refused(onnx_file, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with outrider.load(onnx_file) as model:
        with pytest.raises(SourceRefused, match="no picture"):
            model.predict(tmp_path / "text.jpg")
        with pytest.raises(ModelRefused, match="float64"):
            model.predict(np.zeros((4, 4, 3)))


def test_a_place_where_nothing_is_is_refused(tmp_path):
    with pytest.raises(ModelRefused, match="no such file"):
        outrider.load(tmp_path / "nothing")


@pytest.mark.parametrize(("batch", "limit"), [(1, 1), (4, 4), (None, 3)])
def test_every_image_gets_its_answer_whatever_the_batch(tmp_path, batch, limit):
    source = graph(tmp_path, (5, 0.9, 0.9, 0.1), batch=batch)
    with outrider.load(source) as sdk:
        directory = sdk._engine.model.directory
    model = LoadedModel(directory, LoadOptions(max_batch=3, cache_dir=tmp_path))
    model.warm()
    assert model.batch_limit == limit
    tensors = np.zeros((7, *model.tensor_shape), np.uint8)
    geometry = preprocessor(model.spec.input).into(PICTURE, tensors[0])
    answers = model.run(tensors, [geometry] * 7)
    assert [len(answer) for answer in answers] == [1] * 7


def test_a_damaged_cache_entry_is_made_again(onnx_file, tmp_path):
    with outrider.load(onnx_file):
        pass
    (entry,) = (tmp_path / "cache/outrider/fused").iterdir()
    entry.write_bytes(b"eaten by the disk")
    with outrider.load(onnx_file) as model:
        assert len(model.predict(PICTURE)) == 2


def test_a_closed_model_gives_no_answer(onnx_file):
    model = outrider.load(onnx_file)
    model.close()
    (answer,) = model.ask([PICTURE])
    assert isinstance(answer, NoAnswer)


def test_a_new_process_reaches_its_first_result_without_heavy_imports(onnx_file):
    with outrider.load(onnx_file):
        pass
    code = (
        "import sys, numpy, outrider; light = 'numpy.linalg' in sys.modules and 'cv2' not in sys.modules;"
        f"model = outrider.load({str(onnx_file)!r});"
        "model.predict(numpy.zeros((48, 64, 3), numpy.uint8));"
        f"print(light, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "True []"


def test_infer_writes_a_line_for_each_picture_and_draws(onnx_file, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "in" / name), PICTURE)
    arguments = ["--model", str(onnx_file), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "lines")]
    assert main(["infer", str(tmp_path / "in"), *arguments]) == 0
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.png", "b.png"]
    assert [len(line["detections"]) for line in lines] == [2, 2]
    assert lines[0]["digest"].startswith("sha256:")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert "2 frames, 4 detections" in capsys.readouterr().err


def test_infer_annotates_a_video_frame_by_frame(onnx_file, tmp_path):
    video = tmp_path / "in.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        writer.write(PICTURE)
    writer.release()
    assert main(["infer", str(video), "--model", str(onnx_file), "--out", str(tmp_path / "o.avi")]) == 0
    capture = cv2.VideoCapture(str(tmp_path / "o.avi"))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 5
    capture.release()


@pytest.mark.parametrize("source", ["nothing.mp4", "text.mp4", "empty"])
def test_infer_says_what_is_wrong_with_a_source(onnx_file, tmp_path, capsys, source):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty").mkdir()
    assert main(["infer", str(tmp_path / source), "--model", str(onnx_file)]) == 1
    words = capsys.readouterr().err
    assert words.startswith("outrider: ")
    assert source in words


def test_model_families_are_listed(capsys):
    assert main(["model", "families"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= {"yolox", "nanodet", "yolo"}


def test_model_check_explains_a_refusal(tmp_path: Path, capsys):
    assert main(["model", "check", str(tmp_path)]) == 1
    assert "package-invalid" in capsys.readouterr().err
