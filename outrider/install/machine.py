"""What an installer has to know of the machine, or of the root, that it installs into."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from outrider.install.errors import InstallRefused
from outrider.install.plan import DROP_INS, OURS, Facts

BOOTED = Path("/run/systemd/system")
"""Exists where systemd is the init, sd_booted(3)."""
CSI = "10-csi.conf"
CPU_ONLY = "10-cpu-only.conf"


def look(
    root: Path,
    environment: Path | None,
    drop_ins: tuple[str, ...] | None,
    order: bytes | None = None,
    start: bool = True,
) -> Facts:
    """`drop_ins` None chooses by what the machine has.

    :raises InstallRefused: the root is no system
    """
    if not (root / "etc").is_dir():
        raise InstallRefused(f"{root} is no root of a system: it has no etc")
    here = root.resolve() == Path("/")
    return Facts(
        root=str(root.resolve()),
        environment=str((environment or Path(sys.prefix)).absolute()),
        python=os.path.realpath(sys.executable if environment is None else environment / "bin/python"),
        live=here and BOOTED.is_dir(),
        nvidia=_has_nvidia(root),
        drop_ins=_chosen(root, here) if drop_ins is None else drop_ins,
        old_drop_ins=tuple(sorted(p.name for p in (root / DROP_INS.relative_to("/")).glob(f"{OURS}*.conf"))),
        order=order,
        start=start,
    )


def _has_nvidia(root: Path) -> bool:
    return any(
        (root / path).exists()
        for path in ("usr/bin/nvidia-smi", "usr/bin/tegrastats", "etc/nv_tegra_release")
    )


def _chosen(root: Path, here: bool) -> tuple[str, ...]:
    csi = (root / "usr/sbin/nvargus-daemon").exists()
    without_gpu = here and not _has_nvidia(root) and not any(Path("/dev/dri").glob("renderD*"))
    return (*((CPU_ONLY,) if without_gpu else ()), *((CSI,) if csi else ()))


def require_linux() -> None:
    """:raises InstallRefused: there is no systemd for it"""
    if platform.system() != "Linux":
        raise InstallRefused(f"the service needs Linux with systemd; this is {platform.system()}")
