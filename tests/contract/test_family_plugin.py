"""A model family that another distribution brings: recognised, packed, loaded and decoded as the built-in ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import outrider
from runtime.errors import ModelRefused
from runtime.model import families
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from wire.reasons import Reason

ACME = '''
import numpy as np
from runtime.model.families.family import Candidates, Evaluation, Match, finish, outputs_problem
from runtime.model.spec import DecodeSpec, InputSpec, Task

class Acme:
    """One box for each row: x y width height score."""
    name = "acme"
    expects = "one output [N, rows, 1, 1, 5]"
    evaluation = Evaluation()

    def recognise(self, graph, *, named=False):
        if [len(port.shape) for port in graph.outputs] != [5]:
            return None
        image = InputSpec(graph.image.name, graph.width, graph.height, resize="stretch")
        return Match(self.name, Task.DETECTION, image, DecodeSpec(), 1, "five axes are Acme's", labels=("anvil",))

    def check(self, outputs, spec):
        return [] if [len(port.shape) for port in outputs] == [5] else [outputs_problem(outputs, self.expects, self.name)]

    def decoder(self, outputs, spec):
        def decode(outputs, geometries):
            return [self.one(rows.reshape(-1, 5), spec, geometry) for rows, geometry in zip(outputs[0], geometries)]
        return decode

    def one(self, rows, spec, geometry):
        rows = rows[rows[:, 4] > spec.decode.score_threshold]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return finish(Candidates(boxes, rows[:, 4], np.zeros(len(rows), np.int32)), spec, geometry)

class Broken:
    name = expects = "broken"
    evaluation = Evaluation()

    def recognise(self, graph, *, named=False):
        raise RuntimeError("no licence for anvils")

class Never:
    def __init__(self):
        raise OSError("no anvil is plugged in")
'''
ENTRIES = "[outrider.families]\nacme = acme_anvils:Acme\nbroken = acme_anvils:Broken\nnever = acme_anvils:Never\ngone = acme_gone:Gone\n"


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution, as `importlib.metadata` finds it."""
    info = tmp_path / "site" / "acme_anvils-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-anvils\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (info.parent / "acme_anvils.py").write_text(ACME)
    monkeypatch.syspath_prepend(info.parent)


def anvils(path: Path) -> Path:
    """A graph that answers two boxes whatever it sees."""
    rows = np.array([[8, 8, 16, 16, 0.9], [40, 40, 8, 8, 0.01]], np.float32).reshape(1, 2, 1, 1, 5)
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["top", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["found"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 2, 1, 1, 5])],
        [
            onnx.numpy_helper.from_array(rows, "rows"),
            onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.usefixtures("acme")
def test_a_family_of_another_distribution_is_recognised_packed_and_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = pack(
        anvils(tmp_path / "m.onnx"),
        tmp_path / "m.pkg",
        PackOptions(no_golden=True),
        LoadOptions(cache_dir=tmp_path),
    )
    for name in ("broken", "never", "gone"):
        assert f"family '{name}'" in caplog.text
    with outrider.load(made.directory, cache_dir=tmp_path) as model:
        result = model.predict(np.zeros((128, 128, 3), np.uint8))
    assert result.class_names == ("anvil",)
    assert result.boxes.tolist() == [[16, 16, 48, 48]]


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(("name", "words"), [("never", "no anvil is plugged in"), ("gone", "acme_gone")])
def test_a_family_that_cannot_be_had_is_refused_with_its_own_words(name: str, words: str) -> None:
    assert "acme" in families.names()
    with pytest.raises(ModelRefused, match=words) as refused:
        families.get(name)
    assert refused.value.reason is Reason.FAMILY_UNKNOWN
