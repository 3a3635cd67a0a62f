"""Writing a bundle to a stick: a directory that may be completed later, or one tar file."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from fleet.client import Client
from fleet.errors import Refused
from fleet.files import sync_directory, write_atomic
from wire.bundle import FILE, OBJECTS, Bundle
from wire.reasons import Reason

Progress = Callable[[int, int], None]
"""Bytes done, bytes in all."""


def export(client: Client, bundle: Bundle, target: Path, progress: Progress) -> None:
    """Fetch what is missing at the target and write the rest. What is there already is kept where it is right.

    `target` ending in `.tar` becomes one file, whole or not there.

    :raises Refused: it cannot be written, or an object is not what its name says
    """
    packed = target.suffix == ".tar"
    folder = target.with_name(target.name + ".part") if packed else target
    try:
        _fill(client, bundle, folder, progress)
        if packed:
            _pack(folder, target)
    except OSError as e:
        raise Refused(Reason.DISK_FULL, f"{target} cannot be written: {e}") from e


def _fill(client: Client, bundle: Bundle, folder: Path, progress: Progress) -> None:
    objects = folder / OBJECTS
    objects.mkdir(parents=True, exist_ok=True)
    total, done = sum(bundle.objects.values()), 0
    for digest, size in bundle.objects.items():
        path = objects / digest.removeprefix("sha256:")
        if not (path.exists() and path.stat().st_size == size):
            base = done
            _fetch(client, digest, path, lambda count, base=base: progress(base + count, total))  # type: ignore[misc]
        done += size
        progress(done, total)
    sync_directory(objects)
    write_atomic(folder / FILE, json.dumps(bundle.to_json()).encode())


def _fetch(client: Client, digest: str, path: Path, progress: Callable[[int], None]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("ab") as file:
        for chunk in client.object_bytes(digest, file.tell()):
            file.write(chunk)
            progress(file.tell())
    with part.open("rb") as file:
        found = hashlib.sha256()
        while chunk := file.read(1024 * 1024):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != digest:
        part.unlink()
        raise Refused(Reason.ARTIFACT_CORRUPT, f"{digest[:19]} came as something else; try again")
    part.replace(path)


def _pack(folder: Path, target: Path) -> None:
    whole = target.with_name(f".{target.name}.writing")
    with tarfile.open(whole, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder / FILE, FILE)
        for path in sorted((folder / OBJECTS).iterdir()):
            tar.add(path, f"{OBJECTS}/{path.name}")
    whole.replace(target)
    sync_directory(target.parent)
    shutil.rmtree(folder)
