"""Where the tests find real models, pictures, videos and cases; each is skipped, with the reason, where it is absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def folder(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"no folder {path}; set {variable}")
    return path


@pytest.fixture(scope="session")
def assets() -> Path:
    """Models, images and videos."""
    return folder("OUTRIDER_ASSETS", SHARED / "assets")


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The path of a real mosquitto."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip("mosquitto is not installed")
    return path
