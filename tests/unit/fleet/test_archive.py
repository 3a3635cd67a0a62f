"""Hostile and broken uploads."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from fleet.archive import unpack
from fleet.errors import Refused, TooMuch
from wire.manifest import MAX_FILES

LIMIT_BYTES = 100_000


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def zip_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("model.onnx")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def directory(number: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"d{number}")
    info.type = tarfile.DIRTYPE
    return info


def unpacked(tmp_path: Path, content: bytes, limit_bytes: int = LIMIT_BYTES) -> Path:
    packed, target = tmp_path / "packed", tmp_path / "target"
    packed.write_bytes(content)
    target.mkdir()
    return unpack(packed, target, limit_bytes)


MEMBERS = (("model.toml", b"a"), ("golden/image.png", b"b" * 5000))


@pytest.mark.parametrize(
    "pack",
    [
        lambda: tar_of(*MEMBERS),
        lambda: zstandard.ZstdCompressor().compress(tar_of(*MEMBERS)),
        lambda: zip_of(*MEMBERS),
        lambda: tar_of(*((f"./pkg/{name}", content) for name, content in MEMBERS)),
    ],
    ids=["tar", "tar.zst", "zip", "within a folder"],
)
def test_every_kind_of_archive_comes_out_the_same(tmp_path: Path, pack: Callable[[], bytes]) -> None:
    root = unpacked(tmp_path, pack())
    found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert found == dict(MEMBERS)


@pytest.mark.parametrize(
    "content",
    [
        tar_of(("../outside", b"x")),
        tar_of(("/absolute", b"x")),
        tar_of(("a/../../b", b"x")),
        tar_of(("a\\b", b"x")),
        tar_of(("twice", b"x"), ("twice", b"y")),
        tar_of(("a", b"x"), ("a/b", b"y")),
        tar_of(link(tarfile.SYMTYPE)),
        tar_of(link(tarfile.LNKTYPE)),
        tar_of(link(tarfile.CHRTYPE)),
        tar_of(link(tarfile.FIFOTYPE)),
        zip_of(("../outside", b"x")),
        b"",
        b"PK\x03\x04 not really",
        b"\x28\xb5\x2f\xfd not really",
        b"\x1f\x8b not really",
        tar_of(*MEMBERS)[:3000],
        zip_of(*MEMBERS)[:-30],
    ],
)
def test_what_may_not_be_there_is_refused_and_nothing_is_outside(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Refused):
        unpacked(tmp_path, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "target"]


@pytest.mark.parametrize(
    "content",
    [
        zstandard.ZstdCompressor().compress(tar_of(("bomb", bytes(LIMIT_BYTES + 1)))),
        zip_of(("bomb", bytes(LIMIT_BYTES + 1))),
        tar_of(*((f"f{n}", b"") for n in range(MAX_FILES + 1))),
        tar_of(*(directory(n) for n in range(5 * MAX_FILES))),
    ],
    ids=["zstd bomb", "zip bomb", "many files", "many directories"],
)
def test_more_than_the_limits_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TooMuch):
        unpacked(tmp_path, content)
