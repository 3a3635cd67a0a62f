"""A running TensorRT engine on the fake GPU, which is stricter than a real one about order and lifetime."""

import mmap
import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from runtime.errors import ModelRefused, Transient
from runtime.model.backends.backend import RunOptions
from runtime.model.backends.cuda.api import CudaError
from runtime.model.backends.tensorrt import opening
from runtime.model.backends.tensorrt.engine import lane_batch, profiles_for
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt_machine import GPU, machine
from tests.unit.model.graphs import FLOAT, UINT8, save
from wire.reasons import Reason


@pytest.fixture
def graph(tmp_path):
    return doubling(tmp_path / "m.onnx", "batch")


def doubling(path, batch):
    """Bytes in; twice their value, and their largest."""
    return save(
        path,
        [
            helper.make_node("Cast", ["images"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["f", "two"], ["out"]),
            helper.make_node("ReduceMax", ["f"], ["top"], axes=[1, 2, 3], keepdims=0),
        ],
        [("images", UINT8, [batch, 3, 4, 4])],
        [("out", FLOAT, [batch, 3, 4, 4]), ("top", FLOAT, [batch])],
        [("two", np.array(2, np.float32))],
    )


def picture(value, count=1):
    return np.full((count, 3, 4, 4), value, np.uint8)


def opened(machine, graph, **options):
    return opening.open_on(machine, graph, RunOptions(max_batch=8, **options))


def test_profiles_single_frames_apart():
    assert profiles_for(4, 8) == ()
    assert profiles_for(None, 1) == ((1, 1, 1),)
    assert profiles_for(None, 8) == ((1, 1, 1), (2, 4, 8))
    assert profiles_for(None, 3) == ((1, 1, 1), (2, 3, 3))


def test_batches_run_in_few_sizes():
    profiles = profiles_for(None, 6)
    assert [lane_batch(n, profiles) for n in range(1, 7)] == [1, 2, 4, 4, 6, 6]


def test_every_run_has_its_own_answer(graph):
    made = machine()
    backend = opened(made, graph)
    answers = [backend.run(picture(value)) for value in (3, 4, 5)]
    assert [answer[0].max() for answer in answers] == [6, 8, 10]
    assert [answer[1].tolist() for answer in answers] == [[3], [4], [5]]
    backend.close()
    assert made.cuda.live() == {}


def test_after_the_first_run_of_a_size_only_its_graph_is_launched(graph):
    made = machine()
    backend = opened(made, graph)
    for count in (1, 1, 3, 4, 1):
        batch = np.arange(count * 48, dtype=np.uint8).reshape(count, 3, 4, 4)
        answer = backend.run(batch)
        assert np.array_equal(answer[0], batch.astype(np.float32) * 2)
    assert made.cuda.launches == 5
    assert backend.info["cuda_graph"] is True
    assert made.cuda.live()["graphs"] == 2


def test_what_cannot_be_captured_runs_all_the_same(graph):
    made = machine("no-capture")
    backend = opened(made, graph)
    assert [backend.run(picture(v))[0].max() for v in (3, 4)] == [6, 8]
    assert (made.cuda.launches, backend.info["cuda_graph"]) == (0, False)
    backend.close()
    assert made.cuda.live() == {}


def test_shared_memory_needs_no_copies(graph):
    made = machine(gpu=replace(GPU, integrated=True))
    backend = opened(made, graph)
    assert [backend.run(picture(v))[0].max() for v in (3, 4)] == [6, 8]
    assert made.cuda.copies == 0
    assert "devices" not in made.cuda.live()
    backend.close()
    assert made.cuda.live() == {}


def slots(count):
    """Parts of a mapping, each on a page of its own, as slots are."""
    whole = np.frombuffer(mmap.mmap(-1, count * mmap.PAGESIZE), np.uint8)
    return [whole[i * mmap.PAGESIZE :][:48].reshape(3, 4, 4) for i in range(count)]


def check_slots(backend, parts):
    """Answers to what lies in slots, in other memory, and in slots again."""
    for value in (3, 5):
        for i, part in enumerate(parts):
            part[:] = value + i
            assert backend.run(part[None])[1].tolist() == [value + i]
        assert backend.run(picture(200))[1].tolist() == [200]


def test_pinned_slots_are_read_where_they_lie(graph):
    made = machine()
    backend = opened(made, graph)
    backend.run(picture(1))
    parts = slots(3)
    backend.pin(parts)
    own = backend._lanes[1].buffers[0].array
    check_slots(backend, parts)
    own[:] = 77
    parts[0][:] = 9
    assert backend.run(parts[0][None])[1].tolist() == [9]
    assert own.max() == 77, "nothing was copied on the way"
    assert made.cuda.live()["graphs"] == 4
    backend.unpin(parts[:1])
    assert made.cuda.live()["graphs"] == 3
    check_slots(backend, parts)
    backend.unpin(parts)
    assert "registered" not in made.cuda.live()
    backend.close()
    assert made.cuda.live() == {}


def test_pinned_slots_need_no_copies_where_memory_is_shared(graph):
    made = machine(gpu=replace(GPU, integrated=True))
    backend = opened(made, graph)
    backend.run(picture(1))
    parts = slots(2)
    backend.pin(parts)
    check_slots(backend, parts)
    assert made.cuda.copies == 0
    backend.close()
    assert made.cuda.live() == {}, "an engine that is closed has nothing pinned"


def test_slots_that_fit_no_lane_or_are_several_are_copied(graph):
    made = machine()
    backend = opened(made, graph)
    parts = slots(2)
    backend.pin(parts)
    parts[0][:], parts[1][:] = 4, 6
    assert backend.run(np.stack(parts))[1].tolist() == [4, 6]
    assert backend.run(parts[0][None, :, ::-1])[1].tolist() == [4]
    for wrong in (parts[0][None].view(np.int8), parts[0].reshape(1, 4, 4, 3)):
        with pytest.raises(Transient, match="cannot take"):
            backend.run(wrong)
    page = np.arange(96, dtype=np.uint8)
    wide = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint8)[:96]
    wide[:] = page
    backend.pin([wide[:48]])
    every_other = wide.reshape(1, 3, 4, 8)[..., ::2]
    assert np.array_equal(backend.run(every_other)[0], 2.0 * page.reshape(1, 3, 4, 8)[..., ::2])
    assert made.cuda.live()["graphs"] == 2


def test_a_driver_that_pins_nothing_costs_a_copy_only(graph, monkeypatch):
    made = machine()
    backend = opened(made, graph)

    def refuse(address, size_bytes):
        raise CudaError("cuMemHostRegister", 801, "CUDA_ERROR_NOT_SUPPORTED")

    monkeypatch.setattr(made.cuda, "register_host", refuse)
    parts = slots(2)
    backend.pin(parts)
    check_slots(backend, parts)
    backend.unpin(parts)
    backend.close()
    assert made.cuda.live() == {}


def test_what_cannot_be_captured_is_copied_from_slots(graph):
    made = machine("no-capture")
    backend = opened(made, graph)
    parts = slots(2)
    backend.pin(parts)
    check_slots(backend, parts)
    backend.close()
    assert made.cuda.live() == {}


def test_a_fixed_batch_has_one_lane_and_no_profiles(tmp_path):
    backend = opened(machine(), doubling(tmp_path / "m.onnx", 2))
    assert backend.inputs[0].shape == (2, 3, 4, 4)
    assert backend.run(picture(7, 2))[1].tolist() == [7, 7]


def test_a_full_gpu_refuses_the_request_and_keeps_what_runs(graph):
    made = machine(cuda=FakeCuda(device_bytes=900))
    backend = opened(made, graph)
    assert backend.run(picture(3))[0].max() == 6
    with pytest.raises(Transient) as refused:
        backend.run(picture(3, 8))
    assert refused.value.reason is Reason.OUT_OF_MEMORY
    assert backend.run(picture(4))[0].max() == 8
    backend.close()
    assert made.cuda.live() == {}


def test_an_error_that_spoils_the_process_is_told_by_its_reason(graph):
    made = machine()
    backend = opened(made, graph)
    assert backend.run(picture(3))[0].max() == 6
    made.cuda.spoil()
    for count in (1, 4):  # a size that has its buffers, and one that would need some
        with pytest.raises(Transient, match="no more") as failed:
            backend.run(picture(3, count))
        assert failed.value.reason is Reason.GPU_FAULT
    backend.close()


def test_where_tensorrt_only_says_that_it_failed_the_driver_is_asked_why(graph):
    made = machine("no-capture", gpu=replace(GPU, integrated=True))
    backend = opened(made, graph)
    assert backend.run(picture(3))[0].max() == 6
    made.cuda.spoil(719)
    with pytest.raises(Transient) as failed:
        backend.run(picture(3))
    assert failed.value.reason is Reason.GPU_FAULT


def test_a_wrong_tensor_is_a_failed_request(graph):
    backend = opened(machine(), graph)
    for wrong in (np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 3, 5, 5), np.uint8)):
        with pytest.raises(Transient, match="cannot take"):
            backend.run(wrong)
    assert backend.run(picture(3))[0].max() == 6


def test_another_thread_may_run_it(graph):
    backend = opened(machine(), graph)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(backend.run(picture(3))))
    thread.start()
    thread.join()
    assert answers[0][0].max() == 6


def test_an_output_whose_size_depends_on_the_picture_is_refused(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Compress", ["images", "chosen"], ["out"], axis=1)],
        [("images", UINT8, [1, 3, 4, 4])],
        [("out", UINT8, [1, "found", 4, 4])],
        [("chosen", np.array([True, False, True]))],
    )
    with pytest.raises(ModelRefused, match="depends on what the picture shows"):
        opened(machine(), path).run(picture(1))


def test_a_closed_engine_says_so(graph):
    backend = opened(machine(), graph)
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.run(picture(1))
