"""A wheel as its file says it is: name, version, tags, what it needs; and whether its content is what its RECORD lists."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

MAX_ENTRIES = 50_000
MAX_UNPACKED_BYTES = 4 * 1024**3
MAX_METADATA_BYTES = 4 * 1024 * 1024
READ_BYTES = 1024 * 1024


class Unfit(ValueError):
    """No wheel that can be used; the message says why."""


@dataclass(frozen=True)
class Wheel:
    """`name` is canonical. `requires` as its metadata lists them, markers and all."""

    path: Path
    name: str
    version: Version
    tags: frozenset[Tag]
    requires: tuple[Requirement, ...]


def read(path: Path) -> Wheel:
    """:raises Unfit: no wheel, or its name and its metadata differ"""
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            held = _metadata(archive, path)
        said = canonicalize_name(str(held["Name"])), Version(str(held["Version"]))
        requires = tuple(Requirement(str(text)) for text in held.get_all("Requires-Dist") or ())
    except (InvalidWheelFilename, InvalidVersion, InvalidRequirement) as e:
        raise Unfit(f"{path.name}: {e}") from e
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as e:
        raise Unfit(f"{path.name} is no whole wheel: {e}") from e
    if said != (name, version):
        raise Unfit(f"{path.name} says of itself that it is {said[0]} {said[1]}")
    return Wheel(path, name, version, tags, requires)


def _metadata(archive: zipfile.ZipFile, path: Path) -> Message:
    found = [
        info
        for info in archive.infolist()
        if info.filename.endswith(".dist-info/METADATA") and info.filename.count("/") == 1
    ]
    if len(found) != 1 or found[0].file_size > MAX_METADATA_BYTES:
        raise Unfit(f"{path.name} has {len(found)} METADATA; one of at most 4 MiB is expected")
    return BytesParser().parsebytes(archive.read(found[0]))


def lacking(path: Path, names: Iterable[str]) -> list[str]:
    """Those files that the wheel does not hold."""
    with zipfile.ZipFile(path) as archive:
        held = set(archive.namelist())
    return [name for name in names if name not in held]


def verify(path: Path) -> int:
    """Hold every file of the wheel against its RECORD; the bytes it unpacks to.

    :raises Unfit: a file is missing, changed, not listed, or leaves the place it is unpacked to
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > MAX_ENTRIES or sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
                raise Unfit(f"{path.name} unpacks to more than a release may hold")
            record = _record(archive, infos, path)
            for info in infos:
                _check(archive, info, record, path)
            return sum(info.file_size for info in infos)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, csv.Error) as e:
        raise Unfit(f"{path.name} is no whole wheel: {e}") from e


def _record(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], path: Path) -> dict[str, str]:
    lists = [info for info in infos if info.filename.endswith(".dist-info/RECORD")]
    if len(lists) != 1 or lists[0].file_size > MAX_METADATA_BYTES:
        raise Unfit(f"{path.name} has {len(lists)} RECORD; one is expected")
    rows = csv.reader(io.StringIO(archive.read(lists[0]).decode("utf-8", "replace")))
    return {row[0]: row[1] for row in rows if len(row) >= 2} | {lists[0].filename: ""}


def _check(archive: zipfile.ZipFile, info: zipfile.ZipInfo, record: dict[str, str], path: Path) -> None:
    name = info.filename
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise Unfit(f"{path.name}: {name!r} leaves the place it is unpacked to")
    if name not in record:
        raise Unfit(f"{path.name}: {name!r} is not in its RECORD")
    how, _, wanted = record[name].partition("=")
    if not how:
        if not name.endswith((".dist-info/RECORD", ".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")):
            raise Unfit(f"{path.name}: {name!r} has no hash in its RECORD")
        return
    if how not in ("sha256", "sha384", "sha512"):
        raise Unfit(f"{path.name}: {name!r} is hashed by {how!r}")
    digest = hashlib.new(how)
    with archive.open(info) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    if base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") != wanted:
        raise Unfit(f"{path.name}: {name!r} is not what its RECORD says")
