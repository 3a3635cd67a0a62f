import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from runtime.errors import ModelRefused
from runtime.model import fuse
from runtime.model.preprocess import normalise
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from tests.unit.model.graphs import FLOAT, HALF, UINT8, echo, save

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DTYPES = {"float32": FLOAT, "float16": HALF, "uint8": UINT8}


def run(graph, feed):
    session = onnxruntime.InferenceSession(graph)
    (name,) = [value.name for value in session.get_inputs()]
    assert name == fuse.FEED
    return session.run(None, {name: feed})[0]


def spec_of(image):
    return ModelSpec("m", Task.DETECTION, "yolox", image, DecodeSpec())


@pytest.mark.parametrize("feed", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("dtype", "form", "tolerance"),
    [
        ("float32", {"mean": MEAN, "std": STD}, 2e-6),
        ("float32", {"scale": 1.0, "mean": (103.53, 116.28, 123.675), "std": (57.4, 57.1, 58.4)}, 2e-6),
        ("float32", {"scale": 1.0}, 0.0),
        ("float16", {"mean": MEAN, "std": STD}, 2e-3),
        ("uint8", {"scale": 1.0}, 0.0),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_fused_graph_does_what_numpy_does(tmp_path, dtype, form, tolerance, feed, layout):
    image = InputSpec("images", 4, 6, layout=layout, dtype=dtype, **form)
    path = echo(tmp_path / "m.onnx", dtype=DTYPES[dtype], shape=(1, *image.tensor_shape))
    tensor = np.random.default_rng(1).integers(0, 256, (1, *image.tensor_shape)).astype(feed)
    answer = run(fuse.build(path, image, fuse.Form(feed)), tensor)
    wanted = normalise(tensor, image)
    assert answer.dtype == wanted.dtype
    assert np.abs(answer.astype(np.float64) - wanted.astype(np.float64)).max() <= tolerance


def test_names_with_colons_and_slashes_survive(tmp_path):
    image = InputSpec("serving/images:0", 4, 4, scale=1.0)
    path = echo(tmp_path / "m.onnx", name="serving/images:0")
    assert run(fuse.build(path, image, fuse.Form()), np.full((1, 3, 4, 4), 7, np.uint8)).max() == 7


@pytest.mark.parametrize("ir_version", [3, 7])
def test_weights_listed_among_the_inputs_stay_weights(tmp_path, ir_version):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["images", "w"], ["out"])],
        [("images", FLOAT, [1, 3, 4, 4])],
        [("out", FLOAT, [1, 3, 4, 4])],
        [("w", np.ones(1, np.float32))],
        listed=True,
        ir_version=ir_version,
    )
    built = fuse.build(path, InputSpec("images", 4, 4, scale=1.0), fuse.Form())
    assert [value.name for value in onnx.load_from_string(built).graph.input] == [fuse.FEED]
    assert run(built, np.full((1, 3, 4, 4), 7, np.uint8)).max() == 8


def test_an_open_batch_stays_open(tmp_path):
    path = echo(tmp_path / "m.onnx", shape=("batch", 3, 4, 4))
    built = fuse.build(path, InputSpec("images", 4, 4, batch=None), fuse.Form())
    assert run(built, np.zeros((5, 3, 4, 4), np.uint8)).shape == (5, 3, 4, 4)


def test_a_cached_graph_needs_no_onnx(tmp_path, monkeypatch):
    image = InputSpec("images", 4, 4)
    echo(tmp_path / "model.onnx")
    made = fuse.fused(tmp_path, spec_of(image), fuse.Form(), tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert fuse.fused(tmp_path, spec_of(image), fuse.Form(), tmp_path / "cache") == made


def test_another_normalisation_or_graph_is_another_entry(tmp_path):
    echo(tmp_path / "model.onnx")
    keys = {
        fuse.key(tmp_path, spec_of(InputSpec("images", 4, 4)), fuse.Form()),
        fuse.key(tmp_path, spec_of(InputSpec("images", 4, 4)), fuse.Form("float32")),
        fuse.key(tmp_path, spec_of(InputSpec("images", 4, 4, scale=1.0)), fuse.Form()),
    }
    echo(tmp_path / "model.onnx", opset=12)
    keys.add(fuse.key(tmp_path, spec_of(InputSpec("images", 4, 4)), fuse.Form()))
    assert len(keys) == 4


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    echo(tmp_path / "model.onnx")
    (tmp_path / "file").write_bytes(b"")
    graph = fuse.fused(tmp_path, spec_of(InputSpec("images", 4, 4)), fuse.Form(), tmp_path / "file" / "cache")
    assert isinstance(graph, bytes)


def test_nothing_half_written_stays_in_the_cache(tmp_path):
    echo(tmp_path / "model.onnx")
    fuse.fused(tmp_path, spec_of(InputSpec("images", 4, 4)), fuse.Form(), tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".onnx"]


def test_an_input_the_graph_does_not_have_is_refused(tmp_path):
    echo(tmp_path / "m.onnx")
    with pytest.raises(ModelRefused, match="no input 'data'"):
        fuse.build(tmp_path / "m.onnx", InputSpec("data", 4, 4), fuse.Form())
