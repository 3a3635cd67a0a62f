"""From a graph to an engine: kept, refitted or built, on the fake TensorRT."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from runtime.errors import ModelRefused
from runtime.model.backends.backend import RunOptions
from runtime.model.backends.cuda import driver
from runtime.model.backends.tensorrt import build, fingerprint, opening
from tests.fakes import tensorrt
from tests.fakes.tensorrt_machine import GPU, machine
from tests.unit.model.graphs import FLOAT, save
from wire.reasons import Reason


def network(path, seed=0, *, factor=2.0, op="Relu"):
    weights = np.random.default_rng(seed)
    return save(
        path,
        [
            helper.make_node("Conv", ["images", "w", "b"], ["c"]),
            helper.make_node("Mul", ["c", "factor"], ["m"]),
            helper.make_node(op, ["m"], ["out"]),
        ],
        [("images", FLOAT, ["batch", 3, 4, 4])],
        [("out", FLOAT, ["batch", 16, 4, 4])],
        [
            ("w", weights.normal(size=(16, 3, 1, 1)).astype(np.float32)),
            ("b", weights.normal(size=16).astype(np.float32)),
            ("factor", np.array(factor, np.float32)),
        ],
    )


def opened(made, graph, cache, **options):
    return opening.open_on(made, graph, RunOptions(max_batch=4, cache=cache, **options))


def test_an_engine_is_built_once_and_then_kept(tmp_path):
    graph, told = network(tmp_path / "a.onnx"), []
    made = machine()
    first = opened(made, graph, tmp_path, progress=told.append)
    assert opened(made, graph, tmp_path).info["origin"] == "cache"
    assert (first.info["origin"], len(tensorrt._builds)) == ("build", 1)
    assert told[0] == "building the engine"
    assert told[-1] == "Building, 100 %"


def test_new_weights_go_into_the_engine_of_the_old(tmp_path):
    made, x = machine(), np.ones((1, 3, 4, 4), np.float32)
    old = opened(made, network(tmp_path / "a.onnx", 1), tmp_path)
    new = opened(made, network(tmp_path / "b.onnx", 2), tmp_path, refit=True)
    assert new.info["origin"] == "refit"
    expected = opened(machine(), network(tmp_path / "b.onnx", 2), None).run(x)[0]
    tensorrt._connect(made.cuda)
    assert np.array_equal(new.run(x)[0], expected)
    assert not np.array_equal(old.run(x)[0], expected)


def test_a_refitted_engine_is_kept_only_when_confirmed(tmp_path):
    made = machine()
    opened(made, network(tmp_path / "a.onnx", 1), tmp_path)
    graph = network(tmp_path / "b.onnx", 2)
    doubtful = opened(made, graph, tmp_path, refit=True)
    doubtful.close()
    trusted = opened(made, graph, tmp_path, refit=True)
    assert trusted.info["origin"] == "refit"
    trusted.confirm()
    assert opened(made, graph, tmp_path).info["origin"] == "cache"


@pytest.mark.parametrize("faults", [("no-refit",), ()], ids=["TensorRT refuses", "nobody checks"])
def test_where_refitting_fails_or_is_not_allowed_the_engine_is_built(tmp_path, faults):
    made = machine(*faults)
    opened(made, network(tmp_path / "a.onnx", 1), tmp_path)
    new = opened(made, network(tmp_path / "b.onnx", 2), tmp_path, refit=bool(faults))
    assert (new.info["origin"], len(tensorrt._builds)) == ("build", 2)


@pytest.mark.parametrize("change", [{"factor": 3.0}, {"op": "Sigmoid"}])
def test_another_structure_is_never_refitted(tmp_path, change):
    made = machine()
    opened(made, network(tmp_path / "a.onnx"), tmp_path)
    assert (
        opened(made, network(tmp_path / "b.onnx", **change), tmp_path, refit=True).info["origin"] == "build"
    )


@pytest.mark.parametrize(
    "change",
    [{"name": "Other"}, {"capability": 89}, {"driver": 13000}],
    ids=lambda change: next(iter(change)),
)
def test_another_gpu_or_driver_needs_another_engine(tmp_path, change):
    graph = network(tmp_path / "a.onnx")
    opened(machine(), graph, tmp_path)
    assert opened(machine(gpu=replace(GPU, **change)), graph, tmp_path, refit=True).info["origin"] == "build"


def test_another_version_or_batch_needs_another_engine(tmp_path, monkeypatch):
    graph, made = network(tmp_path / "a.onnx"), machine()
    opened(made, graph, tmp_path)
    assert opening.open_on(made, graph, RunOptions(max_batch=2, cache=tmp_path)).info["origin"] == "build"
    monkeypatch.setattr(tensorrt, "__version__", "10.13.3")
    assert opened(made, graph, tmp_path).info["origin"] == "build"


def test_a_kept_engine_that_does_not_load_is_built_again(tmp_path):
    graph, made = network(tmp_path / "a.onnx"), machine()
    opened(made, graph, tmp_path)
    (plan,) = (tmp_path / "engines").glob("*.plan")
    plan.write_bytes(b"half of it")
    assert opened(made, graph, tmp_path).info["origin"] == "build"
    assert opened(made, graph, tmp_path).info["origin"] == "cache"


def test_timings_are_handed_on_and_those_of_another_machine_are_not(tmp_path):
    made = machine()
    opened(made, network(tmp_path / "a.onnx", 1), tmp_path)
    opened(made, network(tmp_path / "b.onnx", 2), tmp_path)
    (cache,) = (tmp_path / "engines").glob("timings-*.cache")
    assert cache.read_bytes() == b"timed;timed;"
    cache.write_bytes(b"other machine")
    opened(made, network(tmp_path / "c.onnx", 3), tmp_path)
    assert cache.read_bytes() == b"timed;"


def test_without_a_cache_nothing_is_kept_and_everything_works(tmp_path):
    content = network(tmp_path / "a.onnx").read_bytes()
    backend = opened(machine(), content, None)
    assert backend.run(np.ones((3, 3, 4, 4), np.float32))[0].shape == (3, 16, 4, 4)


def test_a_driver_that_is_too_old_is_told_before_the_runtime_is_touched(tmp_path):
    with pytest.raises(ModelRefused, match="update the driver") as refused:
        opened(machine("old-driver"), network(tmp_path / "a.onnx"), tmp_path)
    assert refused.value.reason is Reason.DRIVER_TOO_OLD


def test_an_operator_that_tensorrt_has_not_is_named(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("NonZero", ["images"], ["out"], name="find")],
        [("images", FLOAT, [1, 3, 4, 4])],
        [("out", 7, [4, "found"])],
    )
    with pytest.raises(ModelRefused, match=r"node 'find', NonZero") as refused:
        opened(machine(), path, tmp_path)
    assert refused.value.reason is Reason.ENGINE_BUILD_FAILED
    assert not list((tmp_path / "engines").glob("*.plan"))


def test_the_fingerprint_is_remembered_without_onnx(tmp_path, monkeypatch):
    graph = network(tmp_path / "a.onnx")
    first = fingerprint.read(graph, tmp_path / "notes")
    monkeypatch.setattr(fingerprint, "compute", None)
    assert fingerprint.read(graph, tmp_path / "notes") == first


def test_no_driver_is_a_reason_code():
    def absent(name):
        raise OSError("cannot open shared object file")

    with pytest.raises(ModelRefused) as refused:
        driver.ask(absent)
    assert refused.value.reason is Reason.DRIVER_ABSENT


def test_a_driver_of_an_older_cuda_is_told():
    driver.require_cuda(GPU, "12.8", "ONNX Runtime")
    with pytest.raises(ModelRefused, match=r"CUDA 13.0, the driver of the Fake Orin speaks CUDA 12.6"):
        driver.require_cuda(GPU, "13.0", "ONNX Runtime")


def test_orders_cross_to_the_child_and_back():
    order = build.Order("tensorrt", "g", "o", "x", (None, 3, 4, 4), ((1, 1, 1), (2, 4, 8)), True)
    assert build.Order.from_json(order.to_json()) == order


def test_lines_that_are_not_ours_are_passed_over():
    stream = iter([b"[TRT] hello\n", b'{"progress": "x, 5 %"}\n', b"[1]\n", b"{}\n"])
    assert list(build.lines(stream)) == [("progress", "x, 5 %")]
