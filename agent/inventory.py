"""What this machine is made of, read from the kernel and its files; every source may be missing."""

from __future__ import annotations

import platform
import re
import socket
from pathlib import Path

import psutil

from wire.health import Accelerator
from wire.inventory import Disk, Gpu, Inventory, VideoDevice

JETPACK_OF_L4T = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}
"""JetPack's major release by Jetson Linux's (NVIDIA, Jetson Linux archive)."""
RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
PSEUDO = frozenset({"squashfs", "overlay", "tmpfs", "iso9660"})
MOST = 32


def read_inventory(gpus: tuple[Accelerator, ...], root: Path = Path("/")) -> Inventory:
    """`root` is where the file system begins."""
    l4t = _l4t(root)
    return Inventory(
        hostname=socket.gethostname(),
        board=_first(root, "proc/device-tree/model", "sys/class/dmi/id/product_name"),
        serial=_first(root, "proc/device-tree/serial-number", "sys/class/dmi/id/product_serial"),
        architecture=platform.machine(),
        processor=_processor(root),
        processors=psutil.cpu_count() or 0,
        memory_bytes=psutil.virtual_memory().total,
        system=_system(root),
        kernel=platform.release(),
        python=platform.python_version(),
        l4t=l4t,
        jetpack=JETPACK_OF_L4T.get(l4t.partition(".")[0], ""),
        gpus=tuple(
            Gpu(name=gpu.name, driver=gpu.driver or "", memory_bytes=gpu.memory_total_bytes) for gpu in gpus
        ),
        disks=_disks(),
        cameras=_cameras(root),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")[:200]
    except OSError:
        return ""


def _first(root: Path, *names: str) -> str:
    return next((text for name in names if (text := _text(root / name))), "")


def _l4t(root: Path) -> str:
    match = RELEASE.match(_text(root / "etc/nv_tegra_release"))
    return f"{match[1]}.{match[2]}" if match else ""


def _processor(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _system(root: Path) -> str:
    try:
        lines = (root / "etc/os-release").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "")


def _disks() -> tuple[Disk, ...]:
    found: dict[str, Disk] = {}
    for part in psutil.disk_partitions(all=False):
        if part.fstype in PSEUDO or part.device in found or len(found) >= MOST:
            continue
        try:
            total = psutil.disk_usage(part.mountpoint).total
        except OSError:
            continue
        found[part.device] = Disk(mount=part.mountpoint, kind=part.fstype, total_bytes=total)
    return tuple(found.values())


def _cameras(root: Path) -> tuple[VideoDevice, ...]:
    folders = sorted((root / "sys/class/video4linux").glob("video*"))[:MOST]
    return tuple(VideoDevice(path=f"/dev/{each.name}", name=_text(each / "name")) for each in folders)
