"""Releases of the agent: what is taken, what is refused, how one is made from wheels that are there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fleet.release.build import Wanted, base_of, build
from fleet.release.check import NEEDED, check
from fleet.rollout.change import former, patched
from tests.fakes.releases import wheel
from wire.release import FILE

PROGRAM = dict.fromkeys(NEEDED, b"")
CP311 = "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A whole release: the agent, one compiled and one plain wheel, and one taken from the installation."""
    folder = tmp_path / "house"
    folder.mkdir()
    needs = [
        "numpy>=2",
        "httpx",
        "tomli; python_version < '3.11'",
        "onnxruntime; extra == 'cpu'",
        "psutil>=6",
    ]
    wheel(folder, "outrider", "0.2.0", PROGRAM, needs)
    wheel(folder, "numpy", "2.1", {"numpy/x.so": b"\0"}, tag=CP311)
    wheel(folder, "httpx", "0.28", {"httpx.py": b""}, ["numpy"])
    card(folder)
    return folder


def card(folder: Path, **changes: Any) -> None:
    body = {"version": "0.2.0", "python": "3.11", "platform": "linux-x86_64", "base": {"psutil": "6.1"}}
    (folder / FILE).write_text(json.dumps({**body, **changes}))


def test_a_whole_release_is_taken_with_the_glibc_it_needs(house: Path) -> None:
    verdict = check(house)
    assert verdict.ok, verdict
    assert verdict.card["name"] == "agent-cp311-linux-x86_64"
    assert verdict.card["release"]["glibc"] == "2.17"
    assert verdict.card["wheels"] == ["httpx==0.28", "numpy==2.1", "outrider==0.2.0"]


def spoil_version(folder: Path) -> None:
    card(folder, version="0.3.0")


def spoil_wire(folder: Path) -> None:
    card(folder, wire=2)


def spoil_python(folder: Path) -> None:
    card(folder, python="3.12")


def spoil_platform(folder: Path) -> None:
    card(folder, platform="linux-aarch64")


def spoil_base(folder: Path) -> None:
    card(folder, base={"psutil": "5.9"})


def spoil_extra(folder: Path) -> None:
    card(folder, extras=["cpu"])


def spoil_stranger(folder: Path) -> None:
    (folder / "setup.py").write_text("")


def spoil_twice(folder: Path) -> None:
    wheel(folder, "numpy", "2.2", {}, tag=CP311)


def spoil_content(folder: Path) -> None:
    """A file that its RECORD knows otherwise."""
    path = next(folder.glob("httpx-*"))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, "httpx.py": b"import os"}.items():
            archive.writestr(name, content)


def spoil_way_out(folder: Path) -> None:
    next(folder.glob("httpx-*")).unlink()
    wheel(folder, "httpx", "0.28", {"../../bin/sh": b""})


def spoil_zip(folder: Path) -> None:
    path = next(folder.glob("numpy-*"))
    path.write_bytes(path.read_bytes()[:100])


def spoil_program(folder: Path) -> None:
    next(folder.glob("outrider-*")).unlink()
    wheel(folder, "outrider", "0.2.0", {"agent/daemon.py": b""})


def spoil_card(folder: Path) -> None:
    (folder / FILE).unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_version, "is 0.3.0, and the wheel is 0.2.0"),
        (spoil_wire, "needs wire 2"),
        (spoil_python, "does not run on Python 3.12"),
        (spoil_platform, "does not run on Python 3.11 of linux-aarch64"),
        (spoil_base, "outrider needs psutil>=6"),
        (spoil_extra, "outrider needs onnxruntime"),
        (spoil_stranger, "setup.py"),
        (spoil_twice, "more than once"),
        (spoil_content, "is not what its RECORD says"),
        (spoil_way_out, "leaves the place"),
        (spoil_zip, "no whole wheel"),
        (spoil_program, "has no agent/launcher.py"),
        (spoil_card, "release.json cannot be read"),
    ],
)
def test_what_is_no_whole_release_is_refused_with_its_reason(house: Path, spoil: Any, words: str) -> None:
    spoil(house)
    verdict = check(house)
    assert not verdict.ok
    assert verdict.reason == "release-invalid"
    assert words in verdict.message


def test_a_release_is_made_of_what_the_installation_does_not_hold(house: Path, tmp_path: Path) -> None:
    frozen = tmp_path / "freeze.txt"
    frozen.write_text("psutil==6.2\nnumpy==2.1\nhttpx==0.20\nleft.over==1\n-e git+x\n")
    program = next(house.glob("outrider-*"))
    given = (next(house.glob("httpx-*")),)
    made = build(
        Wanted(program, "3.11", "linux-x86_64", given=given, base=base_of(frozen), offline=True),
        tmp_path / "made",
    )
    assert made.base == {"numpy": "2.1", "psutil": "6.2"}
    assert {path.name.partition("-")[0] for path in (tmp_path / "made").glob("*.whl")} == {
        "outrider",
        "httpx",
    }


def test_a_rollout_brings_a_release_and_takes_it_back() -> None:
    running = {"models": {}, "agent": {"digest": "sha256:old", "version": "agent@1", "allow_downgrade": True}}
    change = {"agent": "agent@2"}
    assert patched(running, change)["agent"] == {"release": "agent@2"}
    assert former(running, change)["agent"] == {
        "digest": "sha256:old",
        "version": "agent@1",
        "allow_downgrade": True,
    }
    assert former({"models": {}}, change)["agent"] == {"installed": True, "allow_downgrade": True}
    assert "agent" not in former({"models": {}}, {"models": {}})
