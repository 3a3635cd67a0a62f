"""Carries out the steps of an installation below a root, saying each before it does it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from outrider.install.errors import InstallRefused
from outrider.install.steps import CopyEnvironment, PointLink, Remove, Run, Step, WriteFile

RUN_S = 300.0
PACKAGES = re.compile(r"lib/python(3\.\d+)/site-packages$")


def carry_out(steps: Sequence[Step], root: Path, say: Callable[[str], None], dry_run: bool = False) -> int:
    """How many steps changed something. With `dry_run` they are only said.

    :raises InstallRefused: a program fails or is missing, or the root has no interpreter that fits
    :raises OSError: no room, no permission
    """
    changed = 0
    for step in steps:
        if dry_run:
            say(str(step))
            continue
        done = _one(step, root)
        changed += done
        say(f"{step}{'' if done else ' (nothing to do)'}")
    return changed


def _one(step: Step, root: Path) -> bool:
    if isinstance(step, WriteFile):
        return _write(_below(root, step.path), step.content, step.mode)
    if isinstance(step, PointLink):
        return _point(_below(root, step.path), step.target)
    if isinstance(step, CopyEnvironment):
        return _copy(root, _below(root, step.path), Path(step.source))
    if isinstance(step, Remove):
        return _remove(_below(root, step.path))
    return _run(step, root)


def _below(root: Path, path: PurePosixPath) -> Path:
    return root / path.relative_to("/")


def _write(path: Path, content: bytes, mode: int) -> bool:
    if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.replace(part, path)
    return True


def _point(path: Path, target: str) -> bool:
    if path.is_symlink() and os.readlink(path) == target:
        return False
    if path.is_dir() and not path.is_symlink():
        raise InstallRefused(f"{path} is a directory, where a link is to be; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    os.replace(part, path)
    return True


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return True
    existed = path.is_symlink() or path.exists()
    path.unlink(missing_ok=True)
    return existed


def _run(step: Run, root: Path) -> bool:
    command = [argument.replace("{root}", str(root)) for argument in step.command]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_S, stdin=subprocess.DEVNULL
        )
        failure = (done.stderr or done.stdout).strip() if done.returncode else ""
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as e:
        failure, failed = str(e), True
    if failed and not step.may_fail:
        raise InstallRefused(f"{step} failed: {failure}")
    return not failed


def _copy(root: Path, path: Path, source: Path) -> bool:
    """An environment is its `site-packages` beside a link to an interpreter; nothing else in it depends on where it lies."""
    packages = _site_packages(source)
    version = PACKAGES.search(str(packages))
    assert version is not None
    interpreter = root / f"usr/bin/python{version[1]}"
    if not (interpreter.exists() or interpreter.is_symlink()):
        have = ", ".join(sorted(p.name for p in (root / "usr/bin").glob("python3.*"))) or "none"
        raise InstallRefused(
            f"{root} has no /usr/bin/python{version[1]} (it has {have}), for which {source} was made; install it "
            "there, or run this with an outrider of its own Python"
        )
    part = path.with_name(f".{path.name}.new")
    shutil.rmtree(part, ignore_errors=True)
    target = part / f"lib/python{version[1]}/site-packages"
    shutil.copytree(packages, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (part / "bin").mkdir()
    for name in ("python", "python3"):
        (part / "bin" / name).symlink_to(f"/usr/bin/python{version[1]}")
    (part / "bin/outrider").write_text(
        f'#!/bin/sh\nexec /{path.relative_to(root)}/bin/python -m outrider "$@"\n'
    )
    (part / "bin/outrider").chmod(0o755)
    (part / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version[1]}\n"
    )
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)
    return True


def _site_packages(environment: Path) -> Path:
    """:raises InstallRefused: there is none, or it points to a checkout"""
    found = sorted(environment.glob("lib/python3.*/site-packages"))
    if not found:
        raise InstallRefused(f"{environment} is no Python environment; name one that holds outrider")
    if not (found[0] / "outrider" / "__init__.py").exists():
        raise InstallRefused(
            f"{environment} does not hold outrider itself (an editable installation points elsewhere); pip install it there"
        )
    return found[0]
