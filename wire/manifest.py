"""What an artifact consists of: a manifest of files, each named by its SHA-256.

A model's digest is the digest of its manifest's canonical bytes, so a model is named by its whole content, and files that
two versions share are stored and fetched once. A workflow is a single object: its digest is that of its bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, field_validator

from wire import strict_json
from wire.doc import Doc, read
from wire.errors import Malformed
from wire.names import Digest
from wire.release import ReleaseCard

MAX_FILES = 256
MAX_MANIFEST_BYTES = 128 * 1024


class FileEntry(Doc):
    """One file of an artifact. `path` is relative, with forward slashes."""

    path: str = Field(min_length=1, max_length=200)
    sha256: Digest
    size: int = Field(ge=0)

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\\" in path or "\0" in path:
            raise ValueError("a relative path inside the package, without '..'")
        return path


class Needs(Doc):
    """What a device must have for a model to run, as its package declares; 0 and nothing mean that it does not say.

    `memory_bytes`: of the engine process, weights and work space together. `engines`: those that can run it. `compute_capability`: the
    least of an NVIDIA GPU, like `7.2`, for those engines that use one. `width` and `height`: of its input in pixels.
    """

    memory_bytes: int = Field(default=0, ge=0)
    engines: tuple[str, ...] = ()
    compute_capability: str = Field(default="", pattern=r"^(\d+\.\d+)?$")
    width: int = Field(default=0, ge=0)
    height: int = Field(default=0, ge=0)


class Manifest(Doc):
    """The files of one artifact, sorted by path; what a model of them needs, where its package says so; what a release is made for."""

    kind: str = "model"
    files: tuple[FileEntry, ...] = Field(max_length=MAX_FILES)
    needs: Needs | None = None
    release: ReleaseCard | None = None

    @field_validator("files")
    @classmethod
    def _unique(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        paths = [entry.path for entry in files]
        if len(set(paths)) != len(paths):
            raise ValueError("every path once")
        return tuple(sorted(files, key=lambda entry: entry.path))

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.files)

    def encode(self) -> bytes:
        """The canonical bytes: what the digest is computed over, and what is stored."""
        body: dict[str, Any] = {
            "kind": self.kind,
            "files": [entry.model_dump(include={"path", "sha256", "size"}) for entry in self.files],
        }
        if self.needs is not None:
            body["needs"] = self.needs.model_dump(mode="json", include=set(Needs.model_fields))
        if self.release is not None:
            body["release"] = self.release.model_dump(mode="json", include=set(ReleaseCard.model_fields))
        return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()

    @property
    def digest(self) -> str:
        return digest_of(self.encode())


def digest_of(content: bytes) -> str:
    """`sha256:…` of the bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def decode(content: bytes) -> Manifest:
    """Read a manifest.

    :raises Malformed: not JSON
    :raises Refused: a field is wrong
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise Malformed(f"manifest of {len(content)} bytes; at most {MAX_MANIFEST_BYTES}")
    return read(Manifest, strict_json.parse(content, "manifest"))
