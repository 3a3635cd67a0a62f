"""A device without a network: a bundle from a stick, believed by the same rules; a real control plane that is gone by then, a real agent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.updates import AT_ONCE
from tests.faults.test_trust_attacks import Attacked
from wire.manifest import digest_of

pytestmark = pytest.mark.timeout(240)


def bring(stage: Attacked, path: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "outrider",
        "agent",
        "import",
        "--config",
        str(stage.config),
        "--wait",
        "60",
        str(path),
    ]
    return subprocess.run(command, text=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def sticks(
    mosquitto: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Attacked, dict[str, Path]]]:
    """An agent whose control plane is gone, and what was exported before: older and newer, for it and for another."""
    root = tmp_path_factory.mktemp("gap")
    stage = Attacked(root / "stage")
    try:
        stage.start_plane()
        stage.enrol()
        found: dict[str, Path] = {}
        digests: list[str] = []
        for name, file in (("older", "older"), ("newer", "newer.tar")):
            digests.append(stage.fresh_workflow()["digest"])
            stage.push({"workflows": {"w": digests[-1]}, "settings": {"update": AT_ONCE}})
            found[name] = root / file
            stage.command("bundle", "export", "--device", stage.device, "-o", str(found[name]))
        shutil.copytree(found["older"], root / "again")
        stage.command("bundle", "export", "--device", stage.device, "-o", str(root / "again"))
        found["completed"] = root / "again"
        stage.processes.stop()
        stage.start_agent()
        yield stage, found
    finally:
        stage.stop()
        for log in sorted(stage.logs.iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


def local(stage: Attacked) -> dict[str, Any]:
    return dict((stage.status() or {})["reported"])


def test_a_damaged_or_altered_bundle_is_refused_and_a_whole_one_runs(
    sticks: tuple[Attacked, dict[str, Path]], tmp_path: Path
) -> None:
    stage, found = sticks
    shutil.copytree(found["completed"], tmp_path / "damaged")
    for path in (tmp_path / "damaged/objects").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "is damaged" in refused(bring(stage, tmp_path / "damaged"))
    shutil.copytree(found["completed"], tmp_path / "altered")
    document = json.loads((tmp_path / "altered/bundle.json").read_text())
    document["devices"][stage.device]["payload"] = document["devices"][stage.device]["payload"][:-4] + "AAA="
    (tmp_path / "altered/bundle.json").write_text(json.dumps(document))
    assert "[signature-invalid]" in refused(bring(stage, tmp_path / "altered"))
    shutil.copytree(found["completed"], tmp_path / "forged")
    document = json.loads((found["completed"] / "bundle.json").read_text())
    document["metadata"]["timestamp.json"] = document["metadata"]["timestamp.json"].replace(
        '"version":', '"version":9'
    )
    (tmp_path / "forged/bundle.json").write_text(json.dumps(document))
    assert "[metadata-invalid]" in refused(bring(stage, tmp_path / "forged"))
    assert local(stage)["revision"] == 0
    done = bring(stage, found["newer"])
    assert done.returncode == 0, done.stderr
    assert "revision 2 runs" in done.stdout
    assert local(stage)["revision"] == 2


def test_an_older_bundle_is_refused(sticks: tuple[Attacked, dict[str, Path]]) -> None:
    stage, found = sticks
    assert bring(stage, found["newer"]).returncode == 0, "again does no harm"
    assert "[metadata-rollback]" in refused(bring(stage, found["older"]))
    assert local(stage)["revision"] == 2


def test_a_bundle_for_others_and_no_bundle_at_all_are_refused(
    sticks: tuple[Attacked, dict[str, Path]], tmp_path: Path
) -> None:
    stage, found = sticks
    shutil.copytree(found["completed"], tmp_path / "other")
    document = json.loads((tmp_path / "other/bundle.json").read_text())
    document["devices"] = {"another": document["devices"][stage.device]}
    (tmp_path / "other/bundle.json").write_text(json.dumps(document))
    assert "is for another" in refused(bring(stage, tmp_path / "other"))
    (tmp_path / "text").write_text("no bundle")
    assert "is no bundle" in refused(bring(stage, tmp_path / "text"))
    assert "is no bundle" in refused(bring(stage, tmp_path / "missing"))


def test_an_export_is_completed_and_its_tar_is_the_same(sticks: tuple[Attacked, dict[str, Path]]) -> None:
    _, found = sticks
    objects = {path.name: path.read_bytes() for path in (found["completed"] / "objects").iterdir()}
    assert all(digest_of(content) == f"sha256:{name}" for name, content in objects.items())
    with tarfile.open(found["newer"]) as tar:
        names = tar.getnames()
    assert names[0] == "bundle.json"
    assert {name.rpartition("/")[2] for name in names[1:]} < set(objects), "the older one's object stayed"


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    return done.stderr
