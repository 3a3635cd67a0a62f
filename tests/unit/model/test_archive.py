import io
import tarfile

import pytest
import zstandard

from runtime.errors import ModelRefused
from runtime.model import archive


def archive_of(tmp_path, *entries):
    """A hand-made archive of (name, type, content or link target)."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.linkname = content
                tar.addfile(entry)
    path = tmp_path / "made.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.getvalue()))
    return path


def refused(path, tmp_path, **limits):
    with pytest.raises(ModelRefused) as caught:
        archive.unpack(path, tmp_path / "out", **limits)
    assert not list(tmp_path.glob("*out*")), "nothing half-written stays"
    return str(caught.value)


@pytest.mark.parametrize("name", ["../escape", "/absolute", "a/../../b"])
def test_a_path_outside_is_refused(tmp_path, name):
    assert "outside" in refused(archive_of(tmp_path, (name, tarfile.REGTYPE, b"x")), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    assert "link" in refused(archive_of(tmp_path, ("model.toml", kind, "/etc/passwd")), tmp_path)


def test_a_file_that_occurs_twice_is_refused(tmp_path):
    twice = [("a", tarfile.REGTYPE, b"1"), ("a", tarfile.REGTYPE, b"2")]
    assert "twice" in refused(archive_of(tmp_path, *twice), tmp_path)


def test_more_bytes_than_allowed_are_refused(tmp_path):
    large = archive_of(tmp_path, ("a", tarfile.REGTYPE, bytes(5000)))
    assert "4999 bytes" in refused(large, tmp_path, max_bytes=4999)


def test_too_many_files_are_refused(tmp_path):
    many = [(f"f{i}", tarfile.REGTYPE, b"") for i in range(300)]
    assert "256 files" in refused(archive_of(tmp_path, *many), tmp_path)


def test_a_huge_extended_header_is_refused_before_it_is_read(tmp_path):
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**30
    path = tmp_path / "made.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert "extended header" in refused(path, tmp_path)


def test_a_broken_off_archive_is_refused(tmp_path):
    random = bytes(range(256)) * 400
    path = archive_of(tmp_path, ("a", tarfile.REGTYPE, random))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be unpacked" in refused(path, tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "made.tar.zst"
    path.write_bytes(b"hello")
    assert "cannot be unpacked" in refused(path, tmp_path)
