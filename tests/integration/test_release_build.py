"""A release made with the help of pip, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import Refused
from fleet.release.build import Wanted, build
from tests.fakes.releases import wheel
from tests.unit.fleet.test_release import house

__all__ = ["house"]


def test_pip_finds_what_is_needed_among_wheels_that_are_there(house: Path, tmp_path: Path) -> None:
    """By name, version and tag, for a platform that need not be this one; what the installation has alike is left out."""
    program = next(house.glob("outrider-*")).rename(tmp_path / "outrider-0.2.0-py3-none-any.whl")
    wheel(house, "numpy", "9.9", {}, tag="cp312-cp312-manylinux_2_17_aarch64")
    wheel(house, "numpy", "2.0", {}, tag="cp312-cp312-manylinux_2_28_aarch64.manylinux_2_17_aarch64")
    wheel(house, "psutil", "6.3", {}, tag="cp36-abi3-manylinux2014_aarch64")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy<9\n")
    made = build(
        Wanted(
            program, "3.12", "linux-aarch64", base={"httpx": "0.28"}, constraints=constraints, find_links=(house,), offline=True
        ),
        tmp_path / "made",
    )  # fmt: skip
    names = {path.name for path in (tmp_path / "made").glob("*.whl")}
    assert {name.partition("-")[0] for name in names} == {"outrider", "numpy", "psutil"}
    assert any(name.startswith("numpy-2.0") for name in names)
    assert (made.base, made.glibc) == ({"httpx": "0.28"}, "2.17")


def test_a_release_that_lacks_something_is_not_made(house: Path, tmp_path: Path) -> None:
    program = next(house.glob("outrider-*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Refused, match=r"fetch them|pip cannot find everything"):
        build(Wanted(program, "3.11", "linux-x86_64", find_links=(empty,), offline=True), tmp_path / "made")
