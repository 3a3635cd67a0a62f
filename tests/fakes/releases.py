"""Wheels made by hand: of this tree with another version and with something planted, of made-up distributions, of installed ones."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "runtime", "wire", "fleet", "outrider")


def wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes],
    requires: Iterable[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """A wheel with these files."""
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    all_files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    path = folder / f"{plain}-{version}-{tag}.whl"
    write(path, all_files, info)
    return path


def write(path: Path, files: Mapping[str, bytes], info: str) -> None:
    """The zip with its RECORD."""
    rows = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in files.items()]
    record = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, content)


def of_this_tree(folder: Path, version: str, planted: Mapping[str, str] | None = None) -> Path:
    """The agent's wheel from the sources that are tested; `planted` is text that goes before a file's own."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    for name, text in (planted or {}).items():
        head, mark, rest = files[name].decode().partition("from __future__ import annotations\n")
        files[name] = f"{head}{mark}{text}\n{rest}".encode() if mark else f"{text}\n{head}".encode()
    requires = importlib.metadata.requires("outrider") or []
    return wheel(folder, "outrider", version, files, requires)


def freeze(path: Path) -> Path:
    """What is installed here, as `pip freeze` lists it."""
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    path.write_text("".join(f"{name}=={version}\n" for name, version in sorted(found.items())))
    return path


def repacked(folder: Path, name: str) -> Path:
    """An installed distribution as a wheel again."""
    held = importlib.metadata.distribution(name)
    info = next(p for p in held.files or () if p.name == "METADATA").parent
    tags = [
        line.partition(": ")[2]
        for line in (held.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag")
    ]
    parts = [tag.split("-") for tag in tags]
    tag = "-".join(".".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    files = {
        str(path): Path(str(path.locate())).read_bytes()
        for path in held.files or ()
        if not str(path).startswith("..")
        and path.suffix != ".pyc"
        and path.name not in ("RECORD", "INSTALLER")
    }
    target = folder / f"{str(info).removesuffix('.dist-info')}-{tag}.whl"
    write(target, files, str(info))
    return target


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
