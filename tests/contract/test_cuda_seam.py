"""The calls of CUDA that our engines use: the fake and the real driver pass the same suite. Stricter rules of the fake follow."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterator

import pytest

from runtime.errors import ModelRefused
from runtime.model.backends.cuda import driver
from runtime.model.backends.cuda.api import Cuda, CudaError
from runtime.model.backends.cuda.library import DriverCuda
from tests.fakes.cuda import FakeCuda, Misuse


def real() -> Cuda:
    try:
        driver.ask()
    except ModelRefused as e:
        pytest.skip(f"no GPU here: {e}")
    return DriverCuda()


@pytest.fixture(params=[FakeCuda, real], ids=["fake", "driver"])
def cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    made: Cuda = request.param()
    made.enter()
    yield made
    if isinstance(made, FakeCuda):
        assert made.live() == {}


@pytest.fixture
def fake() -> FakeCuda:
    made = FakeCuda()
    made.enter()
    return made


class Bench:
    """Two host buffers, one of the device, a stream; put away at the end."""

    def __init__(self, cuda: Cuda, size: int = 64) -> None:
        self.cuda, self.size = cuda, size
        self.source, self.target = cuda.host_buffer(size), cuda.host_buffer(size)
        self.device, self.stream = cuda.device_buffer(size), cuda.stream()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cuda.destroy_stream(self.stream)
        self.cuda.free_device(self.device)
        self.cuda.free_host(self.source)
        self.cuda.free_host(self.target)

    def fill(self, value: int) -> None:
        ctypes.memset(self.source, value, self.size)

    def there_and_back(self) -> None:
        self.cuda.copy_in(self.device, self.source, self.size, self.stream)
        self.cuda.copy_out(self.target, self.device, self.size, self.stream)

    @property
    def result(self) -> bytes:
        return ctypes.string_at(self.target, self.size)


def test_what_went_in_comes_out(cuda: Cuda) -> None:
    with Bench(cuda) as bench:
        bench.fill(7)
        bench.there_and_back()
        cuda.synchronize(bench.stream)
        assert bench.result == b"\x07" * 64


def test_a_captured_graph_does_nothing_until_launched_and_then_reads_what_is_there_now(cuda: Cuda) -> None:
    with Bench(cuda) as bench:
        bench.fill(1)
        bench.there_and_back()
        cuda.synchronize(bench.stream)
        cuda.begin_capture(bench.stream)
        bench.fill(2)
        bench.there_and_back()
        graph = cuda.end_capture(bench.stream)
        cuda.synchronize(bench.stream)
        assert bench.result == b"\x01" * 64
        for value in (3, 4):
            bench.fill(value)
            cuda.launch(graph, bench.stream)
            cuda.synchronize(bench.stream)
            assert bench.result == bytes([value]) * 64
        cuda.destroy_graph(graph)


def test_waiting_within_a_capture_spoils_it_and_the_stream_can_be_used_again(cuda: Cuda) -> None:
    with Bench(cuda) as bench:
        bench.fill(5)
        cuda.begin_capture(bench.stream)
        with pytest.raises(CudaError):
            cuda.synchronize(bench.stream)
        with pytest.raises(CudaError):
            cuda.end_capture(bench.stream)
        bench.there_and_back()
        cuda.synchronize(bench.stream)
        assert bench.result == b"\x05" * 64


def test_a_capture_that_was_not_begun_cannot_end(cuda: Cuda) -> None:
    with Bench(cuda) as bench, pytest.raises(CudaError):
        cuda.end_capture(bench.stream)


def test_memory_is_freed_once(cuda: Cuda) -> None:
    device, host = cuda.device_buffer(16), cuda.host_buffer(16)
    cuda.free_device(device)
    cuda.free_host(host)
    with pytest.raises(CudaError):
        cuda.free_device(device)
    with pytest.raises(CudaError):
        cuda.free_host(host)


def test_a_host_buffer_has_an_address_on_the_gpu(cuda: Cuda) -> None:
    host = cuda.host_buffer(16)
    assert cuda.device_address(host) == cuda.device_address(host) != 0
    cuda.free_host(host)


def test_memory_of_others_can_be_read_once_it_is_registered(cuda: Cuda) -> None:
    memory = mmap.mmap(-1, 4 * mmap.PAGESIZE)
    address = ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory)) + mmap.PAGESIZE
    cuda.register_host(address, mmap.PAGESIZE)
    assert cuda.device_address(address) != 0
    with Bench(cuda) as bench:
        ctypes.memset(address, 8, 64)
        cuda.copy_in(bench.device, address, 64, bench.stream)
        cuda.copy_out(bench.target, bench.device, 64, bench.stream)
        cuda.synchronize(bench.stream)
        assert bench.result == b"\x08" * 64
    with pytest.raises(CudaError):
        cuda.register_host(address, mmap.PAGESIZE)
    cuda.unregister_host(address)
    with pytest.raises(CudaError):
        cuda.unregister_host(address)


def test_memory_that_is_not_there_is_told_by_its_code(cuda: Cuda) -> None:
    with pytest.raises(CudaError) as refused:
        cuda.device_buffer(1 << 46)
    assert refused.value.code == 2


def test_a_thread_that_has_entered_may_call(cuda: Cuda) -> None:
    made: list[int] = []

    def work() -> None:
        cuda.enter()
        made.append(cuda.device_buffer(16))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    cuda.free_device(made[0])


# --- where the fake is stricter than CUDA -----------------------------------------------------------------------------


def test_the_fake_keeps_results_back_until_the_stream_is_waited_for(fake: FakeCuda) -> None:
    bench = Bench(fake)
    bench.fill(9)
    bench.there_and_back()
    assert bench.result == b"\xee" * 64


def test_the_fake_notices_a_source_that_changes_under_a_copy(fake: FakeCuda) -> None:
    bench = Bench(fake)
    bench.fill(1)
    bench.there_and_back()
    bench.fill(2)
    with pytest.raises(Misuse, match="still read"):
        fake.synchronize(bench.stream)


def test_the_fake_notices_memory_freed_under_a_stream_or_a_graph(fake: FakeCuda) -> None:
    bench = Bench(fake)
    bench.there_and_back()
    with pytest.raises(Misuse, match="stream or a graph"):
        fake.free_device(bench.device)
    fake.synchronize(bench.stream)
    fake.begin_capture(bench.stream)
    bench.there_and_back()
    graph = fake.end_capture(bench.stream)
    with pytest.raises(Misuse, match="stream or a graph"):
        fake.free_host(bench.source)
    fake.destroy_graph(graph)
    fake.free_host(bench.source)


def test_the_fake_notices_memory_unregistered_under_a_graph_and_copies_from_memory_that_is_not(
    fake: FakeCuda,
) -> None:
    bench, memory = Bench(fake), ctypes.create_string_buffer(64)
    address = ctypes.addressof(memory)
    with pytest.raises(Misuse, match="not pinned"):
        fake.copy_in(bench.device, address, 64, bench.stream)
    fake.register_host(address, 64)
    fake.begin_capture(bench.stream)
    fake.copy_in(bench.device, address, 64, bench.stream)
    graph = fake.end_capture(bench.stream)
    with pytest.raises(Misuse, match="stream or a graph"):
        fake.unregister_host(address)
    fake.destroy_graph(graph)
    fake.unregister_host(address)


def test_the_fake_forbids_what_a_capture_forbids(fake: FakeCuda) -> None:
    bench = Bench(fake)
    bench.there_and_back()
    with pytest.raises(Misuse, match="still works"):
        fake.begin_capture(bench.stream)
    fake.synchronize(bench.stream)
    fake.begin_capture(bench.stream)
    with pytest.raises(CudaError):
        fake.device_buffer(16)
    with pytest.raises(CudaError):
        fake.end_capture(bench.stream)


def test_the_fake_knows_who_has_entered(fake: FakeCuda) -> None:
    failures: list[CudaError] = []

    def work() -> None:
        try:
            fake.stream()
        except CudaError as e:
            failures.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures[0].code == 201
