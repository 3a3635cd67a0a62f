"""A model package as one file: `.tar.zst`. Refuses links, paths that escape, and sizes that would fill the disk."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

import zstandard

from runtime.errors import ModelRefused
from runtime.model.package import MAX_FILES, files, is_inside
from wire.reasons import Reason

SUFFIX = ".tar.zst"
MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_WINDOW_BYTES = 128 * 1024 * 1024
"""Memory that unpacking may take: zstd's own limit for level 19 and below is 8 MB, `--long` goes to 128 MB."""
_MAX_HEADER_BYTES = 64 * 1024
"""Of an extended header: tar reads it into memory whole."""
_LEVEL = 9
_CHUNK_BYTES = 1024 * 1024
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def pack(directory: Path, target: Path) -> None:
    """Write a package as `.tar.zst`; the same content gives the same bytes. Appears whole or not at all.

    :raises ModelRefused: the directory holds links or too many files
    """
    names = files(directory)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        with (
            partial.open("wb") as raw,
            zstandard.ZstdCompressor(level=_LEVEL).stream_writer(raw) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name in names:
                with (directory / name).open("rb") as source:
                    tar.addfile(_entry(name, (directory / name).stat().st_size), source)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _entry(name: str, size_bytes: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size_bytes
    entry.mode = 0o644
    return entry


def unpack(source: Path, directory: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack into a directory that must not exist yet. It appears whole or not at all.

    :raises ModelRefused: not such an archive, broken off, links, escaping paths, too large
    """
    if directory.exists():
        raise ModelRefused(Reason.PACKAGE_INVALID, f"{directory} exists already; name another place")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.partial-"))
    try:
        _unpack_into(source, partial, max_bytes)
        partial.chmod(0o755)
        partial.replace(directory)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError) as e:
        raise ModelRefused(
            Reason.PACKAGE_INVALID, f"{source.name}: cannot be unpacked: {e}; send it again"
        ) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack_into(source: Path, directory: Path, max_bytes: int) -> None:
    left_bytes, count = max_bytes, 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    with (
        source.open("rb") as raw,
        decompressor.stream_reader(raw) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo) as tar,
    ):
        for entry in tar:
            if entry.isdir():
                continue
            _check(entry, source.name, directory)
            count, left_bytes = count + 1, left_bytes - entry.size
            if count > MAX_FILES or left_bytes < 0:
                raise ModelRefused(
                    Reason.PACKAGE_INVALID,
                    f"{source.name}: more than {MAX_FILES} files or {max_bytes} bytes; that is no model package",
                )
            content = tar.extractfile(entry)
            assert content is not None, "a plain file has content"
            _copy(content, directory / entry.name, entry.size)


def _check(entry: tarfile.TarInfo, archive: str, directory: Path) -> None:
    if entry.type not in _PLAIN or not is_inside(entry.name):
        raise ModelRefused(
            Reason.PACKAGE_INVALID,
            f"{archive}: {entry.name!r} is a link, no plain file, or lies outside the package; pack it again",
        )
    if (directory / entry.name).exists():
        raise ModelRefused(Reason.PACKAGE_INVALID, f"{archive}: {entry.name!r} occurs twice; pack it again")


def _copy(content: IO[bytes], target: Path, size_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        shutil.copyfileobj(content, out, _CHUNK_BYTES)
    if target.stat().st_size != size_bytes:
        raise EOFError(f"{target.name} breaks off")


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses extended headers that would be read into memory by the gigabyte."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type not in (*_PLAIN, tarfile.DIRTYPE) and entry.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {entry.size} bytes")
        return entry
