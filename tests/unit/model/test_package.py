import dataclasses

import pytest

from runtime.errors import ModelRefused
from runtime.model import archive, package
from runtime.model.spec import DecodeSpec, GoldenSpec, InputSpec, ModelSpec, Task
from wire.reasons import Reason

SPEC = ModelSpec(
    name="boxes",
    task=Task.DETECTION,
    family="yolox",
    input=InputSpec("images:0", 320, 240, colour="BGR", mean=(1.0, 2.0, 3.0), batch=None),
    decode=DecodeSpec(score_threshold=0.3, options={"strides": [8, 16, 32], "decoded": False}),
    labels=("cat", "dog"),
    recognised="told by a test",
)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "boxes.pkg"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"graph")
    package.write(made, SPEC)
    return made


def edit(directory, old, new):
    path = directory / package.MODEL_TOML
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_written_is_read_again(directory):
    assert package.read(directory) == SPEC


def test_golden_part_is_read_again(directory):
    spec = dataclasses.replace(SPEC, golden=GoldenSpec(score_tolerance=0.05))
    (directory / "golden").mkdir()
    (directory / "golden/image.png").write_bytes(b"")
    (directory / "golden/expected.json").write_bytes(b"")
    package.write(directory, spec)
    assert package.read(directory) == spec


def test_every_problem_is_told_at_once(directory):
    edit(directory, "width = 320", "width = 0")
    edit(directory, 'colour = "BGR"', 'colour = "BRG"')
    edit(directory, "score_threshold = 0.3", "score_threshold = 3")
    (directory / "model.onnx").unlink()
    with pytest.raises(ModelRefused) as caught:
        package.read(directory)
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {"input.width", "input.colour", "decode.score_threshold", "model.onnx"}


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a//b", "a\\\\b"])
def test_a_path_that_leaves_the_package_is_refused(directory, path):
    edit(directory, 'onnx = "model.onnx"', f'onnx = "{path}"')
    with pytest.raises(ModelRefused) as caught:
        package.read(directory)
    assert caught.value.problems[0].path == "model.onnx"


def test_a_newer_schema_is_refused(directory):
    edit(directory, "schema = 1", "schema = 2")
    with pytest.raises(ModelRefused, match="newer"):
        package.read(directory)


def test_an_absurd_input_is_refused(directory):
    edit(directory, "width = 320", "width = 8192")
    edit(directory, "height = 240", "height = 8192")
    with pytest.raises(ModelRefused, match="8192 x 8192"):
        package.read(directory)


def test_a_directory_without_model_toml_says_what_a_package_is(tmp_path):
    with pytest.raises(ModelRefused, match=r"no model\.toml") as caught:
        package.read(tmp_path)
    assert caught.value.reason is Reason.PACKAGE_INVALID


def test_broken_toml_is_refused(directory):
    (directory / package.MODEL_TOML).write_text("schema = = 1")
    with pytest.raises(ModelRefused, match="cannot be read"):
        package.read(directory)


def test_empty_label_lines_are_named(directory):
    (directory / package.LABELS_TXT).write_text("cat\n\ndog\n")
    with pytest.raises(ModelRefused, match=r"line\(s\) 2"):
        package.read(directory)


def test_digest_names_the_whole_content(directory):
    before = package.digest(directory)
    assert before == package.digest(directory)
    (directory / package.LABELS_TXT).write_text("cat\ncow\n")
    assert package.digest(directory) != before


def test_links_are_refused_in_a_manifest(directory):
    (directory / "labels2.txt").symlink_to("/etc/passwd")
    with pytest.raises(ModelRefused, match="links"):
        package.manifest(directory)


def test_an_archive_comes_back_with_the_same_digest(directory, tmp_path):
    archive.pack(directory, tmp_path / "a.tar.zst")
    archive.unpack(tmp_path / "a.tar.zst", tmp_path / "b")
    assert package.digest(tmp_path / "b") == package.digest(directory)


def test_the_same_package_gives_the_same_archive(directory, tmp_path):
    archive.pack(directory, tmp_path / "a.tar.zst")
    archive.pack(directory, tmp_path / "b.tar.zst")
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.tar.zst").read_bytes()
