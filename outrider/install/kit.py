"""The files that are installed, as they ship: `systemd/` of the distribution, and the launcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from outrider.install.errors import InstallRefused

SHIPPED = Path(__file__).resolve().parents[1] / "systemd"
"""In an installed distribution; a checkout has the folder at its top."""
CHECKOUT = Path(__file__).resolve().parents[2] / "systemd"


@dataclass(frozen=True)
class Kit:
    """The content of each file. `drop_ins` by name."""

    unit: bytes
    drop_ins: dict[str, bytes]
    sysusers: bytes
    tmpfiles: bytes
    udev: bytes
    modules: bytes
    launcher: bytes


def load(folder: Path | None = None) -> Kit:
    """:raises InstallRefused: the installation has no such files"""
    where = folder or (SHIPPED if SHIPPED.is_dir() else CHECKOUT)
    try:
        return Kit(
            unit=(where / "outrider-agent.service").read_bytes(),
            drop_ins={p.name: p.read_bytes() for p in (where / "outrider-agent.service.d").glob("*.conf")},
            sysusers=(where / "sysusers.d/outrider.conf").read_bytes(),
            tmpfiles=(where / "tmpfiles.d/outrider.conf").read_bytes(),
            udev=(where / "udev/70-outrider.rules").read_bytes(),
            modules=(where / "modules-load.d/outrider-nvidia.conf").read_bytes(),
            launcher=(Path(__file__).resolve().parents[2] / "agent" / "launcher.py").read_bytes(),
        )
    except OSError as e:
        raise InstallRefused(f"the files of systemd are missing ({e}); install outrider again") from e
