"""The manifest of a directory that has been taken in: its files by content, and what the check has found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from wire.manifest import FileEntry, Manifest, Needs
from wire.release import ReleaseCard

Package = Literal["model", "release"]


def manifest_of(root: Path, card: Mapping[str, Any], kind: Package = "model") -> Manifest:
    """The manifest of every file below the directory, with what the check has found: what a model needs, what a release is for."""
    entries = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1024 * 1024):
                digest.update(chunk)
            size = file.tell()
        entries.append(
            FileEntry(
                path=path.relative_to(root).as_posix(), sha256=f"sha256:{digest.hexdigest()}", size=size
            )
        )
    needs, release = card.get("needs"), card.get("release")
    return Manifest(
        kind=kind,
        files=tuple(entries),
        needs=Needs.model_validate(needs) if needs and kind == "model" else None,
        release=ReleaseCard.model_validate(release) if kind == "release" else None,
    )
