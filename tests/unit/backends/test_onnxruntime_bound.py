"""The bound session of the CUDA provider, on buffers of the CPU: the same calls of the real ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from runtime.errors import ModelRefused, Transient
from runtime.model.backends import onnxruntime as ort
from runtime.model.backends import onnxruntime_cuda, open_backend
from runtime.model.backends.backend import RunOptions
from tests.unit.model.graphs import FLOAT, save
from wire.reasons import Reason


@pytest.fixture
def graph(tmp_path):
    return save(
        tmp_path / "m.onnx",
        [helper.make_node("Mul", ["images", "two"], ["out"])],
        [("images", FLOAT, ["batch", 3, 4, 4])],
        [("out", FLOAT, ["batch", 3, 4, 4])],
        [("two", np.array(2, np.float32))],
    )


def bound(graph):
    return onnxruntime_cuda.open_on(onnxruntime, graph, RunOptions(threads=1), ort.CPU, "cpu")


def test_answers_are_the_callers_own_and_buffers_are_used_again(graph):
    backend = bound(graph)
    first = backend.run(np.full((1, 3, 4, 4), 1, np.float32))
    second = backend.run(np.full((1, 3, 4, 4), 5, np.float32))
    assert (first[0].max(), second[0].max()) == (2, 10)
    assert len(backend._lanes) == 1


def test_each_batch_size_has_its_buffers(graph):
    backend = bound(graph)
    shapes = [backend.run(np.zeros((n, 3, 4, 4), np.float32))[0].shape for n in (1, 4, 1)]
    assert shapes == [(1, 3, 4, 4), (4, 3, 4, 4), (1, 3, 4, 4)]
    assert len(backend._lanes) == 2


def test_outputs_of_unknown_shape_are_bound_without_a_buffer(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("NonZero", ["images"], ["out"])],
        [("images", FLOAT, [1, 3, 4, 4])],
        [("out", 7, [4, "found"])],
    )
    backend = bound(path)
    picture = np.zeros((1, 3, 4, 4), np.float32)
    picture[0, 1, 2, 3] = 1
    assert backend.run(picture)[0].ravel().tolist() == [0, 1, 2, 3]


def test_a_gpu_that_is_lost_is_told_apart_from_a_failed_request():
    lost = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; expr=cudaStreamSynchronize(stream)"
    assert onnxruntime_cuda.failed(RuntimeError(lost)).reason is Reason.GPU_FAULT
    full = "CUDA failure 2: out of memory ; Failed to allocate memory for requested buffer of size 700"
    assert onnxruntime_cuda.failed(RuntimeError(full)).reason is Reason.OUT_OF_MEMORY


def test_a_wrong_shape_is_a_failed_request_and_no_crash(graph):
    with pytest.raises(Transient, match="ONNX Runtime failed"):
        bound(graph).run(np.zeros((1, 3, 5, 5), np.float32))


def test_a_provider_that_does_not_come_up_is_refused(graph):
    class Quiet:
        """The runtime with a provider that it drops without a word, as it does where libraries are missing."""

        def __getattr__(self, name):
            return getattr(onnxruntime, name)

        @staticmethod
        def InferenceSession(source, settings, providers):  # noqa: N802
            return onnxruntime.InferenceSession(source, settings, providers=[ort.CPU])

    with pytest.raises(ModelRefused, match="did not come up"):
        onnxruntime_cuda.open_on(Quiet(), graph, RunOptions(), onnxruntime_cuda.CUDA, "cuda")


def test_a_graph_that_cannot_be_captured_runs_without_capture(graph):
    asked = []

    class NoCapture:
        def __getattr__(self, name):
            return getattr(onnxruntime, name)

        @staticmethod
        def InferenceSession(source, settings, providers):  # noqa: N802
            asked.append(providers)
            if any(isinstance(provider, tuple) for provider in providers):
                raise RuntimeError("This session cannot use the graph capture feature")
            return onnxruntime.InferenceSession(source, settings, providers=[ort.CPU])

    backend = onnxruntime_cuda.open_on(NoCapture(), graph, RunOptions(), ort.CPU, "cpu")
    assert [isinstance(providers[0], tuple) for providers in asked] == [True, False]
    assert backend.info["cuda_graph"] is False


def test_onnxruntime_does_not_compute_in_what_it_was_not_given(graph):
    with pytest.raises(ModelRefused, match="not in bf16"):
        open_backend("onnxruntime-cpu", graph, RunOptions(precision="bf16"))
