"""Where the state directory takes no writing any more (a worn card that the kernel has made read-only), its state goes on in memory.

What is small is copied to the run directory; models and the like are read where they lie, so that nothing new can be fetched. What is
written in the refuge ends with it: the next start on a disk that can be written goes on from there.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

from agent.config import Config

log = logging.getLogger(__name__)

FOLDER = "state"
LARGE = frozenset({"objects", "models", "engine-cache", "agent"})
LEFT = frozenset({"clips", "recorder", "lock"})
"""Of them a new one is begun; what waits on the disk is sent when it can be written again."""
MEMORY_BYTES = 16 * 1024 * 1024


def sheltered(config: Config) -> Config:
    """The configuration, with its state in memory where its own place takes no writing.

    :raises OSError: there is no room for it
    """
    refuge = config.run_dir / FOLDER
    if not _is_read_only(config.state_dir):
        shutil.rmtree(refuge, ignore_errors=True)
        return config
    log.error(
        "the state directory cannot be written; the device goes on from memory, and takes nothing new",
        extra={"path": str(config.state_dir)},
    )
    if not refuge.is_dir():
        _copy(config.state_dir, refuge)
    limits = replace(
        config.limits,
        outbox_bytes=min(config.limits.outbox_bytes, MEMORY_BYTES),
        clips_bytes=min(config.limits.clips_bytes, MEMORY_BYTES),
    )
    return replace(config, state_dir=refuge, limits=limits)


def _is_read_only(directory: Path) -> bool:
    try:
        os.close(os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as e:
        return e.errno == errno.EROFS
    return False


def _copy(state_dir: Path, refuge: Path) -> None:
    """Whole or not there: it gets its name last."""
    partial = refuge.with_name(f".{refuge.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(0o700)
    for entry in state_dir.iterdir():
        if entry.name in LARGE:
            (partial / entry.name).symlink_to(entry)
        elif entry.is_symlink():
            (partial / entry.name).symlink_to(os.readlink(entry))
        elif entry.is_dir() and entry.name not in LEFT:
            shutil.copytree(entry, partial / entry.name, symlinks=True)
        elif entry.is_file() and entry.name not in LEFT and not entry.name.startswith("outbox.db"):
            shutil.copy2(entry, partial / entry.name)
    partial.replace(refuge)
