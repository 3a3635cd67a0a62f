"""`outrider doctor`: what this machine can run, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MIB = 2**20
LOW_MEMORY_MIB = 1024
CUDA_SUCCESS = 0


@dataclass(frozen=True)
class Finding:
    """One line. `state` is ok, warning (works, with a limit) or fault (does not work); `remedy` says what to do."""

    what: str
    state: str
    words: str
    remedy: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """0 where nothing is at fault, else 1."""
    findings = list(examine())
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{finding.state:8} {finding.what:16} {finding.words}{remedy}")
    return int(any(finding.state == "fault" for finding in findings))


def examine() -> Iterator[Finding]:
    """Look at the machine; nothing is changed."""
    yield machine()
    yield inference()
    yield nvidia()
    for name, package in (("TensorRT", "tensorrt"), ("OpenVINO", "openvino")):
        yield optional_engine(name, package)
    yield from programs()
    yield cameras()


def machine() -> Finding:
    memory_mib = psutil.virtual_memory().available // MIB
    words = f"{platform.machine()}, {os.cpu_count()} cores, {memory_mib} MiB free, Python {platform.python_version()}"
    if memory_mib < LOW_MEMORY_MIB:
        return Finding(
            "machine", "warning", words, f"less than {LOW_MEMORY_MIB} MiB leave room for small models only"
        )
    return Finding("machine", "ok", words)


def inference() -> Finding:
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding(
            "onnxruntime", "fault", "is not installed", "pip install 'outrider[cpu]' or 'outrider[gpu]'"
        )
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return Finding("onnxruntime", "ok", f"{onnxruntime.__version__}, providers {', '.join(providers)}")


def nvidia() -> Finding:
    """Ask the driver itself: libraries above it crash where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding(
            "NVIDIA driver", "warning", "is not there: models run on the CPU", "install the driver for a GPU"
        )
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status != CUDA_SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != CUDA_SUCCESS:
        return Finding(
            "NVIDIA driver",
            "fault",
            f"answers with error {status}",
            "look at nvidia-smi and the kernel's log",
        )
    return Finding("NVIDIA driver", "ok" if count.value else "warning", f"{count.value} GPU(s)")


def optional_engine(name: str, package: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        return Finding(
            name, "warning", "is not installed: its engine cannot be used", "install it only if you want it"
        )
    return Finding(name, "ok", importlib.metadata.version(package))


def programs() -> Iterator[Finding]:
    where = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=where)
    if found:
        yield Finding("mosquitto", "ok", found)
    else:
        remedy = "apt-get install mosquitto on the control plane's machine"
        yield Finding(
            "mosquitto", "warning", "is not installed: a control plane here uses the demo's broker", remedy
        )


def cameras() -> Finding:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        return Finding(
            "cameras", "fault", f"no permission for {', '.join(closed)}", "add the user to the group video"
        )
    return Finding(
        "cameras", "ok", ", ".join(devices) or "no USB camera; network cameras and files need none"
    )
