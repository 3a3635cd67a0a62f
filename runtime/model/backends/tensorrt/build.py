"""`python -m runtime.model.backends.tensorrt.build ORDER`: builds one engine, at the lowest priority, in a process of its own.

TensorRT is heavy and may crash; neither shall cost the process that serves. Prints JSON lines: progress, and at the end what
was made or why not. Dies with its parent. Knows nothing of packages and families.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import ModelRefused, RuntimeFault
from runtime.model.backends.tensorrt import library
from runtime.model.fuse import write_whole
from wire.reasons import Reason

IDLE_NICE = 19
LEVEL = 3
"""builder_optimization_level, TensorRT's own default: 5 takes many times as long for a few per cent."""


@dataclass(frozen=True)
class Order:
    """What to build. `input` and `shape`: the one input, batch None where open. profiles: (smallest, usual, largest) batch.

    `capability`: only for TensorRT for RTX, to build for a GPU that is not here, as `SM86`.
    """

    library: str
    graph: str
    out: str
    input: str
    shape: tuple[int | None, ...]
    profiles: tuple[tuple[int, int, int], ...] = ()
    refittable: bool = False
    timings: str = ""
    level: int = LEVEL
    capability: str = ""

    @classmethod
    def from_json(cls, text: str) -> Order:
        body = json.loads(text)
        profiles = tuple(tuple(profile) for profile in body.pop("profiles"))
        return cls(**{**body, "shape": tuple(body["shape"]), "profiles": profiles})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def build(order: Order, tell: Callable[[str], object]) -> dict[str, Any]:
    """Build and write the engine; what it is, for people.

    :raises ModelRefused: ENGINE_UNAVAILABLE, or ENGINE_BUILD_FAILED with TensorRT's words
    """
    trt = library.load(order.library)
    log = library.make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(library.network_flags(trt))
    _parse(trt, log, network, order)
    config = builder.create_builder_config()
    _configure(trt, builder, config, order, tell)
    timings = None if library.is_rtx(trt) else _timings(config, order)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelRefused(
            Reason.ENGINE_BUILD_FAILED,
            f"{order.library} {trt.__version__} built nothing: {library.said(log)}",
        )
    content = bytes(memoryview(plan))
    write_whole(Path(order.out), content)
    if timings is not None:
        with suppress(OSError):  # without it the next build only takes longer
            write_whole(Path(order.timings), bytes(memoryview(config.get_timing_cache().serialize())))
    return {
        "bytes": len(content),
        "inputs": [_tensor(network.get_input(i)) for i in range(network.num_inputs)],
        "outputs": [_tensor(network.get_output(i)) for i in range(network.num_outputs)],
    }


def _parse(trt: Any, log: Any, network: Any, order: Order) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(order.graph):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    words = [f"{error.desc()} (node {error.node_name()!r}, {error.node_operator()})" for error in errors[:3]]
    raise ModelRefused(
        Reason.ENGINE_BUILD_FAILED,
        f"{order.library} {trt.__version__} cannot read the graph: {'; '.join(words) or library.said(log)}",
    )


def _configure(trt: Any, builder: Any, config: Any, order: Order, tell: Callable[[str], object]) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = _monitor(trt, tell)
    if order.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    for batches in order.profiles:
        profile = builder.create_optimization_profile()
        shapes = [tuple(batch if side is None else side for side in order.shape) for batch in batches]
        profile.set_shape(order.input, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise ModelRefused(
                Reason.ENGINE_BUILD_FAILED,
                f"{order.library} refuses the batch sizes {batches} of {order.input!r}",
            )
    if not library.is_rtx(trt):
        config.builder_optimization_level = order.level
    elif order.capability:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, order.capability), 0)


def _timings(config: Any, order: Order) -> Any:
    """A timing cache from the file, or an empty one where there is none or it belongs to another machine."""
    if not order.timings:
        return None
    try:
        known = Path(order.timings).read_bytes()
    except OSError:
        known = b""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _monitor(trt: Any, tell: Callable[[str], object]) -> Any:
    """Tells how far the outermost phase is, at most once a per cent."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, int] = {}
            self.told = ""

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if not parent:
                self.phases[phase] = max(1, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase in self.phases:
                words = f"{phase}, {min(100, 100 * (step + 1) // self.phases[phase])} %"
                if words != self.told:
                    self.told = words
                    tell(words)
            return True

        def phase_finish(self, phase: str) -> None:
            self.phases.pop(phase, None)

    return Monitor()


def _tensor(tensor: Any) -> tuple[str, list[int], str]:
    return tensor.name, [int(side) for side in tensor.shape], str(tensor.dtype).rsplit(".", 1)[-1]


def _yield_to_others() -> None:
    """The lowest priority for processor and disk: cameras come first."""
    import psutil

    os.nice(IDLE_NICE)
    with suppress(psutil.Error, OSError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def main(arguments: list[str]) -> int:
    """Status 0 when built, 1 when refused."""
    from runtime.lifeline import die_before_parent, tie_to_parent

    tie_to_parent(os.getppid())
    die_before_parent()
    _yield_to_others()

    def tell(kind: str, value: Any) -> None:
        print(json.dumps({kind: value}), flush=True)

    try:
        tell("built", build(Order.from_json(arguments[0]), lambda words: tell("progress", words)))
    except RuntimeFault as e:
        tell("refused", [e.reason.value, str(e)])
        return 1
    except OSError as e:
        tell("refused", [Reason.DISK_FULL.value, f"the engine cannot be written: {e}"])
        return 1
    return 0


def lines(stream: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    """The kind and value of every line that is ours; what TensorRT itself prints is passed over."""
    for line in stream:
        with suppress(ValueError, AttributeError):
            ((kind, value),) = json.loads(line).items()
            yield kind, value


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # TensorRT's teardown may crash after the work is done
