"""The plan of an installation: from facts to steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath as At

import pytest

from outrider.install import kit, plan
from outrider.install.errors import InstallRefused
from outrider.install.plan import Facts
from outrider.install.steps import CopyEnvironment, PointLink, Remove, Run, WriteFile

KIT = kit.load()
LIVE = Facts(root="/", environment="/opt/outrider", python="/usr/bin/python3.11", live=True, nvidia=False)


def commands(facts: Facts) -> list[tuple[str, ...]]:
    return [step.command for step in plan.install(KIT, facts) if isinstance(step, Run)]


def test_users_and_directories_come_before_what_starts() -> None:
    names = [command[0] for command in commands(LIVE)]
    assert names.index("systemd-sysusers") < names.index("systemd-tmpfiles") < names.index("systemctl")
    assert commands(LIVE)[-1] == ("systemctl", "restart", plan.UNIT)


def test_an_image_is_enabled_and_nothing_of_the_builders_machine_is_told() -> None:
    image = replace(LIVE, root="/mnt/image", live=False)
    assert commands(image)[-1] == ("systemctl", "--root={root}", "enable", plan.UNIT)
    assert all("{root}" in " ".join(command) for command in commands(image))
    steps = plan.install(KIT, image)
    assert CopyEnvironment(plan.ENVIRONMENT, "/opt/outrider") in steps
    assert PointLink(plan.ENVIRONMENT, "/opt/outrider") not in steps


@pytest.mark.parametrize("place", ["/home/ann/venv", "/root/venv", "/tmp/x"])
def test_an_environment_that_the_sandbox_hides_is_refused_with_the_way_out(place: str) -> None:
    with pytest.raises(InstallRefused, match="/opt/outrider"):
        plan.install(KIT, replace(LIVE, environment=place))
    with pytest.raises(InstallRefused, match="Python is"):
        plan.install(KIT, replace(LIVE, python=f"{place}/bin/python3"))
    assert plan.install(KIT, replace(LIVE, environment=place, root="/mnt/image", live=False))


def test_our_old_drop_ins_go_and_those_of_others_are_not_named() -> None:
    facts = replace(
        LIVE, drop_ins=("10-csi.conf",), old_drop_ins=("outrider-10-cpu-only.conf", "outrider-10-csi.conf")
    )
    steps = plan.install(KIT, facts)
    assert Remove(plan.DROP_INS / "outrider-10-cpu-only.conf") in steps
    assert WriteFile(plan.DROP_INS / "outrider-10-csi.conf", KIT.drop_ins["10-csi.conf"]) in steps
    assert sum(isinstance(step, Remove) and plan.DROP_INS in step.path.parents for step in steps) == 1
    with pytest.raises(InstallRefused, match=r"10-csi\.conf"):
        plan.install(KIT, replace(LIVE, drop_ins=("10-gpu.conf",)))


def test_the_module_of_cuda_is_loaded_only_where_there_is_an_nvidia_gpu() -> None:
    assert Remove(plan.MODULES) in plan.install(KIT, LIVE)
    assert ("modprobe", "nvidia-uvm") not in commands(LIVE)
    assert ("modprobe", "nvidia-uvm") in commands(replace(LIVE, nvidia=True))


def test_an_order_to_enrol_is_for_root_alone() -> None:
    steps = plan.install(KIT, replace(LIVE, order=b"url"))
    assert WriteFile(At("/etc/outrider/credentials/enrol-token"), b"url", 0o600) in steps


def test_an_uninstallation_keeps_state_unless_it_is_to_go() -> None:
    kept = [step.path for step in plan.uninstall(LIVE, purge=False) if isinstance(step, Remove)]
    assert not set(plan.STATE) & set(kept)
    assert plan.UNITS / plan.UNIT in kept
    assert set(plan.STATE) <= {
        step.path for step in plan.uninstall(LIVE, purge=True) if isinstance(step, Remove)
    }
