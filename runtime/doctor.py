"""What `outrider doctor` finds out about engines: which can run here, which cannot, why, and what would change that.

Nothing is loaded that could crash: the driver is asked first, and TensorRT is looked at only where it answers.
`python -m runtime.doctor` prints the findings as JSON, for the agent, which may not load engines.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Iterator
from pathlib import Path

from wire.finding import Finding

CPUINFO = Path("/proc/cpuinfo")
MAX_SPLITS = 8
"""Models whose threads are shown."""
JETSON = Path("/proc/device-tree/model")
ORT_GPU_CAPABILITIES = {"x86_64": (75, 80, 86, 89, 90, 120), "aarch64": (89, 90, 120, 121)}
"""Compute capabilities that the GPU wheels of ONNX Runtime 1.31 hold code for; there is none for Orin (87) or Thor (110)."""


def examine() -> Iterator[Finding]:
    """The engines of this machine, the one on which everything else rests first."""
    yield onnxruntime()
    from runtime.errors import ModelRefused
    from runtime.model.backends.cuda import driver

    try:
        gpu: driver.Gpu | None = driver.ask()
    except ModelRefused as e:
        gpu = None
        yield absent(str(e))
    if gpu is not None:
        memory = f"{gpu.memory_bytes / 2**30:.1f} GiB" + (
            " shared with the processor" if gpu.integrated else ""
        )
        words = f"{gpu.name}, compute capability {gpu.capability / 10}, CUDA {gpu.cuda}, {memory}"
        yield Finding("NVIDIA GPU", "ok", words)
    yield onnxruntime_cuda(gpu)
    for what, module in (("TensorRT", "tensorrt"), ("TensorRT-RTX", "tensorrt_rtx")):
        yield tensorrt(what, module, gpu)
    yield openvino()
    yield from splits()


def splits() -> Iterator[Finding]:
    """What was measured on this machine about threads."""
    from runtime.model.fuse import cache_base
    from runtime.model.split import book

    for model, choice in book(cache_base()).entries()[:MAX_SPLITS]:
        tried = ", ".join(f"{name} {m['per_s']:.0f}/s" for name, m in choice.described().items())
        yield Finding("threads", "ok", f"{model}: {choice.split} runs at once; measured {tried}")


def onnxruntime() -> Finding:
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding(
            "onnxruntime", "fault", "is not installed", "pip install 'outrider[cpu]' or 'outrider[gpu]'"
        )
    import onnxruntime

    from runtime.model.backends import cpus

    return Finding("onnxruntime", "ok", f"{onnxruntime.__version__} on the CPU, {cpus.usable()} threads")


def absent(words: str) -> Finding:
    """No GPU: fine on most machines, a fault where there must be one."""
    if JETSON.exists():
        return Finding(
            "NVIDIA GPU", "fault", f"{_model()}, but {words}", "reinstall JetPack's nvidia-l4t packages"
        )
    return Finding(
        "NVIDIA GPU", "warning", "none that answers: models run on the CPU", "install the driver for a GPU"
    )


def _model() -> str:
    return JETSON.read_text(errors="replace").strip("\0\n ")


def onnxruntime_cuda(gpu: object) -> Finding:
    from runtime.errors import ModelRefused
    from runtime.model.backends.cuda import driver

    name = "onnxruntime CUDA"
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding(name, "warning", "onnxruntime is not installed", "pip install 'outrider[gpu]'")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        remedy = "pip install 'outrider[gpu]' in place of [cpu]" if gpu else "needs a GPU"
        return Finding(name, "warning", "the installed ONNX Runtime is the one for CPUs", remedy)
    if not isinstance(gpu, driver.Gpu):
        return Finding(name, "warning", "installed, but no GPU answers", "install the driver for a GPU")
    try:
        driver.require_cuda(gpu, str(getattr(onnxruntime, "cuda_version", "")), "ONNX Runtime")
    except ModelRefused as e:
        return Finding(name, "fault", str(e), "update the driver")
    if gpu.capability not in ORT_GPU_CAPABILITIES.get(platform.machine(), ()):
        words = f"its wheel has no code for compute capability {gpu.capability / 10}"
        return Finding(name, "warning", words, "use the engine tensorrt on this GPU")
    return Finding(name, "ok", f"CUDA {getattr(onnxruntime, 'cuda_version', '')}")


def tensorrt(what: str, module: str, gpu: object) -> Finding:
    from runtime.errors import ModelRefused
    from runtime.model.backends.tensorrt import library

    if importlib.util.find_spec(module) is None:
        known = "JetPack has it: make the environment with --system-site-packages" if JETSON.exists() else ""
        remedy = known or ("see docs/engines.md" if gpu else "needs a GPU")
        return Finding(what, "warning", "is not installed", remedy)
    try:
        version = library.load(module).__version__
    except ModelRefused as e:
        return Finding(what, "warning", str(e), "see docs/engines.md")
    if gpu is None:
        return Finding(
            what, "warning", f"{version}: can build engines at most, for no GPU answers", "install the driver"
        )
    return Finding(what, "ok", version)


def openvino() -> Finding:
    if importlib.util.find_spec("openvino") is None:
        useful = platform.machine() == "x86_64"
        remedy = "pip install 'outrider[openvino]'" if useful else "useful on x86 without a GPU"
        return Finding("OpenVINO", "warning", "is not installed", remedy)
    version = importlib.metadata.version("openvino")
    flags = set(CPUINFO.read_text().split()) if CPUINFO.exists() else set()
    half = "bf16 on request" if flags & {"avx512_bf16", "amx_bf16"} else "no bf16 on this processor"
    return Finding("OpenVINO", "ok", f"{version}, fp32, {half}")


if __name__ == "__main__":
    print(json.dumps([finding.to_json() for finding in examine()]))
