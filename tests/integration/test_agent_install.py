"""An installation into another root, by the real programs of systemd: whole, repeatable, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from outrider.cli import main
from outrider.install import plan

pytestmark = pytest.mark.skipif(
    os.getuid() != 0
    or not all(shutil.which(name) for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles")),
    reason="needs root and the programs of systemd",
)
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with nothing but an interpreter to find."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / f"usr/bin/python{VERSION}").symlink_to(sys.executable)
    return root


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment that holds a package called outrider, and no more of it than an installer looks at."""
    packages = tmp_path / f"env/lib/python{VERSION}/site-packages"
    (packages / "outrider/__pycache__").mkdir(parents=True)
    (packages / "outrider/__init__.py").write_text("")
    (packages / "outrider/__main__.py").write_text("print('outrider of the image')\n")
    return tmp_path / "env"


def install(root: Path, environment: Path, *more: str) -> int:
    return main(["agent", "install", "--root", str(root), "--environment", str(environment), *more])


def tree(root: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = os.readlink(path)
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def test_it_installs_everything_once_and_says_so_the_second_time(
    root: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(root, environment, "--csi") == 0
    first = tree(root)
    assert {
        "etc/systemd/system/outrider-agent.service",
        "etc/systemd/system/outrider-agent.service.d/outrider-10-csi.conf",
        "usr/lib/outrider/launcher.py",
        "etc/udev/rules.d/70-outrider.rules",
    } <= set(first)
    assert first["etc/systemd/system/multi-user.target.wants/outrider-agent.service"]
    assert "outrider:x:" in (root / "etc/passwd").read_text()
    assert not list(root.rglob("usr/lib/outrider/**/__pycache__"))
    (root / "var/lib/outrider/identity.json").write_text("{}")
    capsys.readouterr()
    assert install(root, environment, "--csi") == 0
    assert "write /etc/systemd/system/outrider-agent.service (nothing to do)" in capsys.readouterr().out
    assert tree(root) == {**first, "var/lib/outrider/identity.json": b"{}"}


def test_an_upgrade_keeps_state_and_drops_what_is_no_longer_wanted(root: Path, environment: Path) -> None:
    assert install(root, environment, "--cpu-only") == 0
    (root / "var/lib/outrider/journal.db").write_bytes(b"state")
    own = root / "etc/systemd/system/outrider-agent.service.d/50-site.conf"
    own.write_text("[Service]\nNice=5\n")
    packages = environment / f"lib/python{VERSION}/site-packages"
    (packages / "outrider/new.py").touch()
    assert install(root, environment, "--plain") == 0
    names = {path.name for path in own.parent.iterdir()}
    assert names == {"50-site.conf"}
    assert (root / "var/lib/outrider/journal.db").read_bytes() == b"state"
    assert (root / f"usr/lib/outrider/env/lib/python{VERSION}/site-packages/outrider/new.py").exists()


def test_the_copied_environment_runs_by_the_roots_interpreter(root: Path, environment: Path) -> None:
    assert install(root, environment) == 0
    python = root / "usr/lib/outrider/env/bin/python"
    assert os.readlink(python) == f"/usr/bin/python{VERSION}"
    python.unlink()
    python.symlink_to(root / f"usr/bin/python{VERSION}")
    done = subprocess.run([python, "-m", "outrider"], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.stdout == "outrider of the image\n"


def test_a_dry_run_tells_every_step_and_does_none(
    root: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(root)
    assert install(root, environment, "--dry-run") == 0
    said = capsys.readouterr().out
    for word in ("copy the environment", "make the user", "start at boot", str(plan.UNITS / plan.UNIT)):
        assert word in said
    assert tree(root) == before


def test_an_order_to_enrol_lies_where_the_unit_looks_for_it(root: Path, environment: Path) -> None:
    assert (
        install(root, environment, "--url", "https://plane", "--token", "t" * 20, "--device", "cam-{machine}")
        == 0
    )
    order = root / "etc/outrider/credentials/enrol-token"
    assert (order.stat().st_mode & 0o777, "cam-{machine}" in order.read_text()) == (0o600, True)
    unit = (root / "etc/systemd/system/outrider-agent.service").read_text()
    assert "LoadCredential=enrol-token:/etc/outrider/credentials/enrol-token" in unit


def test_an_uninstallation_leaves_state_and_a_purge_leaves_nothing(root: Path, environment: Path) -> None:
    before = {*tree(root)}
    assert install(root, environment) == 0
    (root / "var/lib/outrider/identity.json").write_text("{}")
    assert main(["agent", "uninstall", "--root", str(root)]) == 0
    kept = {name for name in tree(root) if "outrider" in name}
    assert kept == {"var/lib/outrider/identity.json"}
    assert main(["agent", "uninstall", "--root", str(root), "--purge"]) == 0
    users = {"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}
    assert {name.rstrip("-") for name in tree(root)} - before <= users | {"etc/.pwd.lock"}
    assert "outrider" not in (root / "etc/passwd").read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root, env: shutil.rmtree(root / "etc"), "no root of a system"),
        (lambda root, env: (root / f"usr/bin/python{VERSION}").rename(root / "usr/bin/python3.1"), "it has python3.1"),
        (lambda root, env: shutil.rmtree(env / f"lib/python{VERSION}/site-packages/outrider"), "does not hold outrider"),
        (lambda root, env: shutil.rmtree(env / "lib"), "no Python environment"),
    ],
)  # fmt: skip
def test_what_cannot_be_installed_is_refused_with_a_sentence(
    root: Path, environment: Path, spoil: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(spoil)
    spoil(root, environment)
    assert install(root, environment) == 1
    assert said in capsys.readouterr().err
    assert not (root / "usr/lib/outrider/env").exists()
