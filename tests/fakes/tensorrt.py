"""TensorRT without a GPU: the module `tensorrt` as far as we use it, on the fake CUDA; ONNX Runtime does the arithmetic.

Its names are those of every version from 10.3 to 11.4 (tests/contract/test_tensorrt_names.py), so that code which runs here uses no
other. What TensorRT answers with False or None, it answers so; what would crash the process is `Misuse`. Names with an
underscore are for tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import weakref
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.fakes.cuda import FakeCuda, Misuse

__version__ = "10.3.0"

_cuda: FakeCuda | None = None
_faults: set[str] = set()
"""drop-bias: refitting loses a bias. no-refit: it fails. old-driver: the runtime complains. broken-plan: no plan can be loaded.
no-capture: no enqueue can be captured. build-crash: the builder ends the process."""
_builds: list[str] = []
_refits: list[str] = []


def _connect(cuda: FakeCuda | None, *faults: str) -> None:
    """Begin anew on this GPU."""
    global _cuda
    _cuda = cuda
    _faults.clear()
    _faults.update(faults)
    _builds.clear()
    _refits.clear()


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def log(self, severity: Any, words: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    REFIT = 4


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


_TYPES = {
    1: DataType.FLOAT,
    10: DataType.HALF,
    3: DataType.INT8,
    6: DataType.INT32,
    2: DataType.UINT8,
    7: DataType.INT64,
}
_NUMPY = {
    DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT8: np.int8,
    DataType.INT32: np.int32, DataType.UINT8: np.uint8, DataType.INT64: np.int64,
}  # fmt: skip


def nptype(kind: DataType) -> Any:
    return _NUMPY[kind]


class ITensor:
    def __init__(self, value: Any) -> None:
        kind = value.type.tensor_type
        self.name = value.name
        self.shape = tuple(side.dim_value or -1 for side in kind.shape.dim)
        self.dtype = _TYPES[kind.elem_type]


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._typed = bool(flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self._content = b""
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class ParserError:
    def __init__(self, words: str, node: Any = None) -> None:
        self._words, self._node = words, node

    def desc(self) -> str:
        return self._words

    def node_name(self) -> str:
        return self._node.name if self._node is not None else ""

    def node_operator(self) -> str:
        return self._node.op_type if self._node is not None else ""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, path: str) -> bool:
        model = onnx.load(path)
        refused = [node for node in model.graph.node if node.op_type == "NonZero"]
        if refused:
            self._errors.append(ParserError("operator is not supported", refused[0]))
            return False
        network = self._network
        network._content = model.SerializeToString()
        network._inputs = [ITensor(value) for value in model.graph.input]
        network._outputs = [ITensor(value) for value in model.graph.output]
        return True


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content + b"timed;"


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, smallest: Any, usual: Any, largest: Any) -> None:
        self._shapes[name] = [list(smallest), list(usual), list(largest)]


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.builder_optimization_level = 3
        self.progress_monitor: Any = None
        self._flags: set[int] = set()
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        for smallest, usual, largest in profile._shapes.values():
            if not all(a <= b <= c for a, b, c in zip(smallest, usual, largest, strict=True)):
                return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, content: bytes) -> ITimingCache | None:
        return None if content.startswith(b"other machine") else ITimingCache(content)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        if "build-crash" in _faults:
            raise Misuse("the builder crashes")
        if not network._typed:
            raise Misuse("10.x computes in types of its own choice where the network is not strongly typed")
        opened = any(-1 in tensor.shape for tensor in network._inputs)
        if opened != bool(config._profiles):
            self._logger.log(ILogger.ERROR, "a dynamic input needs an optimization profile")
            return None
        if (monitor := config.progress_monitor) is not None:
            monitor.phase_start("Building", None, 4)
            for step in range(4):
                monitor.phase_start("Tactics", "Building", 9)
                monitor.step_complete("Tactics", step)
                monitor.phase_finish("Tactics")
                assert monitor.step_complete("Building", step) is True
            monitor.phase_finish("Building")
        _builds.append(hashlib.sha256(network._content).hexdigest())
        body = {
            "onnx": base64.b64encode(network._content).decode(),
            "profiles": [profile._shapes for profile in config._profiles],
            "refit": BuilderFlag.REFIT in config._flags,
        }
        return json.dumps(body).encode()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._dead = _cuda is None or "old-driver" in _faults
        if self._dead:
            logger.log(ILogger.ERROR, "CUDA initialization failure with error: 35")

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        if self._dead:
            raise Misuse("SIGSEGV: a runtime without a driver is used")
        try:
            body = json.loads(plan)
        except ValueError:
            self._logger.log(ILogger.ERROR, "the plan was made by another version")
            return None
        return ICudaEngine(body)


class ICudaEngine:
    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self._profiles = body["profiles"]
        self._load(base64.b64decode(body["onnx"]))

    def _load(self, content: bytes) -> None:
        self._model = onnx.load_from_string(content)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        graph = self._model.graph
        self._tensors = [ITensor(value) for value in (*graph.input, *graph.output)]
        self._count = len(graph.input)

    def _tensor(self, name: str) -> ITensor:
        return next(tensor for tensor in self._tensors if tensor.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def refittable(self) -> bool:
        return bool(self._body["refit"])

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        names = [tensor.name for tensor in self._tensors]
        return TensorIOMode.INPUT if names.index(name) < self._count else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensor(name).dtype

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)

    def serialize(self) -> bytes:
        content = base64.b64encode(self._model.SerializeToString()).decode()
        return json.dumps({**self._body, "onnx": content}).encode()


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._runs = 0

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if index >= max(1, len(self._engine._profiles)):
            return False
        self._profile = index
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        declared = self._engine.get_tensor_shape(name)
        if len(shape) != len(declared):
            return False
        if -1 in declared:
            smallest, _, largest = self._engine._profiles[self._profile][name]
            fits = all(a <= s <= b for a, s, b in zip(smallest, shape, largest, strict=True))
        else:
            fits = tuple(shape) == declared
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        names = [tensor.name for tensor in self._engine._tensors[: self._engine._count]]
        return [name for name in names if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        batch = next(iter(self._shapes.values()))[0]
        shape = self._engine.get_tensor_shape(name)
        return (batch if shape[0] == -1 else shape[0], *shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return bool(address)

    def execute_async_v3(self, stream: int) -> bool:
        assert _cuda is not None
        if _cuda.spoiled:
            return False
        engine, shapes = self._engine, {}
        for tensor in engine._tensors:
            if tensor.name not in self._addresses:
                return False
            shapes[tensor.name] = self.get_tensor_shape(tensor.name)
        if self.infer_shapes():
            return False
        captured, addresses, alive = engine._session, dict(self._addresses), weakref.ref(self)

        def act() -> None:
            if alive() is None:
                raise Misuse("a graph runs whose execution context is gone")
            _compute(captured, engine, addresses, shapes)

        self._runs += 1
        first = self._runs == 1 or "no-capture" in _faults
        return _cuda.put(stream, act, set(addresses.values()), first=first)


def _compute(session: Any, engine: ICudaEngine, addresses: dict[str, int], shapes: dict[str, Any]) -> None:
    assert _cuda is not None

    def view(tensor: ITensor) -> np.ndarray:
        kind, shape = np.dtype(nptype(tensor.dtype)), shapes[tensor.name]
        memory = _cuda.memory(addresses[tensor.name])
        count = int(np.prod(shape))
        if len(memory) < count * kind.itemsize:
            raise Misuse(f"the buffer of {tensor.name} is shorter than {shape}")
        return np.frombuffer(memory, kind, count).reshape(shape)

    inputs, outputs = engine._tensors[: engine._count], engine._tensors[engine._count :]
    made = session.run(
        [tensor.name for tensor in outputs], {tensor.name: view(tensor).copy() for tensor in inputs}
    )
    for tensor, value in zip(outputs, made, strict=True):
        np.copyto(view(tensor), value)


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        if not engine.refittable:
            raise Misuse("the engine was not built refittable")
        self._engine, self._logger = engine, logger
        self._content = b""

    def get_missing_weights(self) -> list[str]:
        return [] if self._content else ["everything"]

    def refit_cuda_engine(self) -> bool:
        if "no-refit" in _faults:
            self._logger.log(ILogger.ERROR, "weights cannot be refitted")
            return False
        self._engine._load(self._content)
        _refits.append(hashlib.sha256(self._content).hexdigest())
        return True


class OnnxParserRefitter:
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter = refitter
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def refit_from_file(self, path: str) -> bool:
        model = onnx.load(path)
        known = self._refitter._engine._model.graph
        if [node.op_type for node in model.graph.node] != [node.op_type for node in known.node]:
            self._errors.append(ParserError("the graph has other layers"))
            return False
        if "drop-bias" in _faults:
            biases = {n.input[2] for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3}
            for tensor in model.graph.initializer:
                if tensor.name in biases:
                    value = np.zeros(tuple(tensor.dims), np.float32)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
        self._refitter._content = model.SerializeToString()
        return True
