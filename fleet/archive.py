"""Uploads taken apart: .tar, .tar.zst, .tar.gz and .zip into a directory, with limits on everything.

Only plain files with relative paths inside come out: no links, devices, absolute paths, `..`, duplicates. Sizes are counted
while writing, so an archive that lies about them gains nothing.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import zstandard

from fleet.errors import Refused, TooMuch
from wire.manifest import MAX_FILES
from wire.reasons import Reason

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK"
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_WINDOW_BYTES = 2**27
"""128 MiB, the most `zstd --long` asks for by default; a frame that wants more memory is refused."""
MAX_ENTRIES = 4 * MAX_FILES
"""Directories count too."""
_COPY_BYTES = 1024 * 1024


@dataclass
class _Budget:
    left_bytes: int
    left_files: int = MAX_FILES

    def spend(self, count_bytes: int) -> None:
        self.left_bytes -= count_bytes
        if self.left_bytes < 0:
            raise TooMuch(Reason.TOO_LARGE, "the archive unpacks to more than this control plane takes")


def unpack(archive: Path, target: Path, limit_bytes: int) -> Path:
    """Unpack into the empty directory `target`; the directory that holds `model.toml`, when there is a single top folder.

    :raises Refused: no archive, or a member that may not be there
    :raises TooMuch: more bytes or files than allowed
    """
    budget = _Budget(limit_bytes)
    try:
        with archive.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            members = _zip(file) if magic.startswith(ZIP_MAGIC) else _tar(file, magic)
            for name, source in members:
                _write(name, source, target, budget)
    except (tarfile.TarError, zipfile.BadZipFile, zstandard.ZstdError, zlib.error, EOFError) as e:
        raise _bad(f"not a complete .tar, .tar.zst, .tar.gz or .zip: {e}") from e
    except (OSError, RuntimeError, NotImplementedError, ValueError) as e:
        raise _bad(f"the archive cannot be unpacked: {e}") from e
    return _top(target)


def _tar(file: IO[bytes], magic: bytes) -> Iterator[tuple[str, IO[bytes]]]:
    stream: Any = file
    if magic == ZSTD_MAGIC:
        stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
            file, read_across_frames=True
        )
    with tarfile.open(fileobj=stream, mode="r|gz" if magic.startswith(GZIP_MAGIC) else "r|") as tar:
        for count, member in enumerate(tar):
            _count(count)
            if member.isdir():
                continue
            if not member.isreg():
                raise _bad(f"{member.name!r} is a link or a device; a package holds plain files only")
            content = tar.extractfile(member)
            assert content is not None
            yield member.name, content
            vars(tar)["members"] = []  # a stream is never rewound; keep no memory of what has passed


def _zip(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        for count, info in enumerate(archive.infolist()):
            _count(count)
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _bad(f"{info.filename!r} is a link or a device; a package holds plain files only")
            with archive.open(info) as content:
                yield info.filename, content


def _count(count: int) -> None:
    if count >= MAX_ENTRIES:
        raise TooMuch(Reason.TOO_LARGE, f"the archive has more than {MAX_ENTRIES} entries")


def _write(name: str, source: IO[bytes], target: Path, budget: _Budget) -> None:
    path = target / _inside(name)
    budget.left_files -= 1
    if budget.left_files < 0:
        raise TooMuch(Reason.TOO_LARGE, f"the package has more than {MAX_FILES} files")
    if path.exists():
        raise _bad(f"{name!r} is in the archive twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while chunk := source.read(_COPY_BYTES):
            budget.spend(len(chunk))
            out.write(chunk)


def _inside(name: str) -> PurePosixPath:
    pure = PurePosixPath(name)
    bad = pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or not pure.parts
    if bad or len(name) > 300:
        raise _bad(f"path {name[:80]!r} leaves the package or cannot be used; expected a relative path")
    return pure


def _top(target: Path) -> Path:
    """Archives are made of a directory or of its content; both are fine."""
    entries = list(target.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else target


def _bad(message: str) -> Refused:
    return Refused(Reason.PACKAGE_INVALID, message)


def discard(path: Path) -> None:
    """Remove a directory with all that is in it; nothing happens where it is gone already."""
    shutil.rmtree(path, ignore_errors=True)
