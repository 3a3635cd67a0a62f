"""The launcher and the agent's two slots: a release on trial is started twice, the third start brings the former back."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from agent import launcher
from agent.update.slots import Slots
from wire.phase import Phase


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    """Release 1 runs from slot a, release 2 is whole in slot b; revision 4 runs."""
    made = Slots(tmp_path)
    for digest in ("one", "two"):
        slot = made.begin()
        made.finish(slot, digest)
        if digest == "one":
            made.change(slot, 3, 0)
            assert not made.tidy(lambda _revision: Phase.COMMITTED)
    (tmp_path / "current").symlink_to("revisions/4.json")
    return made


def on_trial(slots: Slots, state_dir: Path) -> None:
    slots.change(slots.holding("two"), 5, 4)
    (state_dir / "current").unlink()
    (state_dir / "current").symlink_to("revisions/5.json")


def test_the_third_start_without_a_commit_brings_back_release_and_revision(
    slots: Slots, tmp_path: Path
) -> None:
    on_trial(slots, tmp_path)
    assert [launcher.guard(tmp_path) for _ in range(4)] == ["b", "b", "a", "a"]
    assert os.readlink(tmp_path / "current") == "revisions/4.json"
    assert (slots.went_back(), slots.pending(), slots.running_digest) == (5, None, "one")
    assert not list((tmp_path / "agent").glob(".*"))


def test_a_commit_ends_the_trial(slots: Slots, tmp_path: Path) -> None:
    on_trial(slots, tmp_path)
    assert launcher.guard(tmp_path) == "b"
    assert not slots.tidy(lambda revision: Phase.COMMITTED if revision == 5 else None)
    assert [launcher.guard(tmp_path) for _ in range(5)] == ["b"] * 5


def test_a_revision_that_went_back_takes_its_agent_with_it(slots: Slots, tmp_path: Path) -> None:
    on_trial(slots, tmp_path)
    assert slots.tidy(lambda _revision: Phase.ROLLED_BACK)
    assert (launcher.guard(tmp_path), slots.pending()) == ("a", None)


def test_the_first_release_goes_back_to_the_installed_agent(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slot = slots.begin()
    slots.finish(slot, "one")
    slots.change(slot, 1, 0)
    assert [launcher.guard(tmp_path) for _ in range(3)] == ["a", "a", ""]


def test_a_slot_that_is_not_whole_is_not_started(slots: Slots, tmp_path: Path) -> None:
    (slots.path("a") / "RELEASE").unlink()
    assert launcher.guard(tmp_path) == ""


def test_a_slot_whose_installation_was_changed_under_it_is_not_started(slots: Slots, tmp_path: Path) -> None:
    numpy = tmp_path / "base" / "numpy-2.1.dist-info"
    numpy.mkdir(parents=True)
    (slots.path("a") / "BASE").write_text(f"{numpy}\n")
    assert (launcher.guard(tmp_path), slots.current, slots.running_digest) == ("a", "a", "one")
    numpy.rename(numpy.with_name("numpy-2.2.dist-info"))
    assert (launcher.guard(tmp_path), slots.current, slots.running_digest) == ("", "", "")
    assert slots.holding("one") == ""
    assert slots.spare == "a"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"starts": "x"}'])
def test_a_damaged_note_does_not_keep_the_agent_from_starting(
    slots: Slots, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, arguments: started.append(arguments))
    (tmp_path / "agent" / "pending").write_bytes(content)
    launcher.main(["run", "--state-dir", str(tmp_path), "--http-port", "0"])
    assert started[0][1:] == [
        "-m",
        "outrider",
        "agent",
        "run",
        "--state-dir",
        str(tmp_path),
        "--http-port",
        "0",
    ]


def test_the_state_directory_is_the_arguments_or_the_environments() -> None:
    assert launcher.state_directory(["run", "--state-dir=/a"], {"STATE_DIRECTORY": "/b"}) == Path("/a")
    assert launcher.state_directory(["run"], {"STATE_DIRECTORY": "/b:/c"}) == Path("/b")
    assert launcher.state_directory(["run"], {}) == Path("/var/lib/outrider")


def test_a_slot_hands_over_to_the_installation_and_never_to_itself(
    slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From within the agent of a slot: by the installed launcher, and without a slot to the installed Python."""
    started: list[list[str]] = []

    def execv(_program: str, arguments: list[str]) -> None:
        started.append(arguments)
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setenv(launcher.BASE_VARIABLE, sys.executable)
    monkeypatch.setenv(launcher.SELF_VARIABLE, str(Path(launcher.__file__)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "slot" / "python"))
    base = os.environ[launcher.BASE_VARIABLE]
    with pytest.raises(SystemExit):
        launcher.again(["run", "--state-dir", str(tmp_path)])
    monkeypatch.setenv(launcher.SELF_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(SystemExit):
        launcher.again(["run", "--state-dir", str(tmp_path)])
    assert started[0][:3] == [base, "-I", os.path.abspath(launcher.__file__)]
    assert started[1] == [base, "-m", "outrider", "agent", "run", "--state-dir", str(tmp_path)]
    assert slots.current == "a", "whose Python is not there, so the installed one starts"


def test_the_launcher_needs_the_standard_library_only() -> None:
    tree = ast.parse(Path(launcher.__file__).read_text())
    heads = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    heads |= {
        (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert heads <= set(sys.stdlib_module_names)
