"""Reading a bundle, and carrying what this device needs of it into the state directory: what `outrider agent import` does.

Nothing is believed here but hashes of what was copied; the agent judges it (`agent.inbox`). Copying that was cut goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from agent.download import what_is_wrong
from agent.errors import Refused
from agent.files import DISK, Disk, make_directories, write_atomic
from wire.bundle import FILE, MAX_BYTES, OBJECTS, Bundle, decode
from wire.errors import WireError
from wire.reasons import Reason

INBOX = "inbox"
INCOMING = "incoming"
READY = "ready"
COPY_BYTES = 1024 * 1024

Progress = Callable[[int, int], None]
"""Bytes done, bytes in all."""


class Reader:
    """A bundle on a stick: a directory, or a tar file that is read in place."""

    def __init__(self, path: Path) -> None:
        """:raises Refused: it is none"""
        self._path = path
        self._offsets: dict[str, tuple[int, int]] = {}
        try:
            if path.is_file():
                with tarfile.open(path) as tar:
                    self._offsets = {m.name: (m.offset_data, m.size) for m in tar if m.isreg()}
            with self._open(FILE) as file:
                self.content = file.read(min(MAX_BYTES + 1, self._offsets.get(FILE, (0, MAX_BYTES + 1))[1]))
            self.bundle: Bundle = decode(self.content)
        except (OSError, tarfile.TarError, WireError) as e:
            raise Refused(
                Reason.BUNDLE_INVALID, f"{path} is no bundle of `outrider fleet bundle export`: {e}"
            ) from e

    def object_at(self, digest: str, start: int) -> IO[bytes]:
        """An object, from a byte on.

        :raises Refused: the bundle lacks it
        """
        try:
            file = self._open(f"{OBJECTS}/{digest.removeprefix('sha256:')}")
        except OSError as e:
            raise Refused(
                Reason.BUNDLE_INVALID, f"{digest[:19]} is not in the bundle; export it again"
            ) from e
        file.seek(start, os.SEEK_CUR)
        return file

    def _open(self, name: str) -> IO[bytes]:
        if not self._path.is_file():
            return (self._path / name).open("rb")
        if name not in self._offsets:
            raise FileNotFoundError(name)
        file = self._path.open("rb")
        file.seek(self._offsets[name][0])
        return file


def carry_in(
    reader: Reader,
    state_dir: Path,
    device: str,
    progress: Progress,
    *,
    keep_free_bytes: int,
    disk: Disk = DISK,
) -> Path:
    """Copy what the store does not hold yet, and lay it ready for the agent; where it lies.

    :raises Refused: it is for other devices or not whole, or there is no room
    :raises OSError: it cannot be read or written
    """
    bundle = reader.bundle
    if device not in bundle.devices:
        raise Refused(
            Reason.BUNDLE_INVALID,
            f"the bundle is for {', '.join(sorted(bundle.devices)[:10])}, this is {device}: export one with --device {device}",
        )
    inbox = state_dir / INBOX
    if (inbox / READY).exists():
        raise Refused(
            Reason.BUNDLE_INVALID,
            f"{inbox / READY} waits for the agent already; start the agent, or remove it",
        )
    objects = inbox / INCOMING / OBJECTS
    make_directories(objects, 0o700, disk=disk)
    held = state_dir / "objects" / "sha256"
    missing = {
        d: size for d, size in bundle.objects.items() if not (held / d.removeprefix("sha256:")).exists()
    }
    _check_room(objects, missing, keep_free_bytes)
    total, done = sum(missing.values()), 0
    for digest, size in missing.items():
        base = done
        _copy(reader, digest, size, objects, lambda count, base=base: progress(base + count, total), disk)  # type: ignore[misc]
        done += size
    progress(done, total)
    disk.sync_directory(objects)
    write_atomic(inbox / INCOMING / FILE, reader.content, 0o600, disk=disk)
    _give(inbox, state_dir)
    disk.replace(inbox / INCOMING, inbox / READY)
    disk.sync_directory(inbox)
    return inbox / READY


def _check_room(folder: Path, missing: dict[str, int], keep_free_bytes: int) -> None:
    there = sum(path.stat().st_size for path in folder.iterdir())
    needed = max(0, sum(missing.values()) - there)
    free = shutil.disk_usage(folder).free
    if free - needed < keep_free_bytes:
        raise Refused(
            Reason.DISK_FULL,
            f"the bundle needs {needed} bytes and {free} are free in {folder}, of which {keep_free_bytes} are to stay free",
        )


def _copy(
    reader: Reader, digest: str, size: int, folder: Path, progress: Callable[[int], None], disk: Disk
) -> None:
    target = folder / digest.removeprefix("sha256:")
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    start = part.stat().st_size if part.exists() else 0
    start = start if start <= size else 0
    with reader.object_at(digest, start) as source, disk.open(part, 0o600, keep=start > 0) as file:
        file.seek(start)
        at = start
        while at < size and (chunk := source.read(min(COPY_BYTES, size - at))):
            file.write(chunk)
            at += len(chunk)
            progress(at)
        disk.sync(file)
    if (wrong := what_is_wrong(part, digest, size)) is not None:
        disk.remove(part)
        raise Refused(
            Reason.BUNDLE_INVALID, f"{digest[:19]} in the bundle is damaged ({wrong}); copy the bundle again"
        )
    disk.replace(part, target)


def _give(inbox: Path, state_dir: Path) -> None:
    """Everything to whom the state directory belongs: root may have copied, the agent is not root."""
    owner = state_dir.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in (inbox, *inbox.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
