"""From facts about a machine to the steps that install or remove the agent's service. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath as At

from outrider.install.errors import InstallRefused
from outrider.install.kit import Kit
from outrider.install.steps import CopyEnvironment, PointLink, Remove, Run, Step, WriteFile

UNIT = "outrider-agent.service"
HOME = At("/usr/lib/outrider")
ENVIRONMENT = HOME / "env"
LAUNCHER = HOME / "launcher.py"
COMMAND = At("/usr/local/bin/outrider")
UNITS = At("/etc/systemd/system")
DROP_INS = UNITS / f"{UNIT}.d"
OURS = "outrider-"
"""Drop-ins that are ours begin so: those of others stay."""
SYSUSERS = At("/etc/sysusers.d/outrider.conf")
TMPFILES = At("/etc/tmpfiles.d/outrider.conf")
UDEV = At("/etc/udev/rules.d/70-outrider.rules")
MODULES = At("/etc/modules-load.d/outrider-nvidia.conf")
STATE = (At("/var/lib/outrider"), At("/var/cache/outrider"), At("/etc/outrider"))
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
"""What the unit's sandbox hides from the agent."""


@dataclass(frozen=True)
class Facts:
    """What is known before. `environment` holds the installed outrider and `python` its interpreter, both absolute; `live`: the root is
    `/` of a machine that systemd runs. `drop_ins` are those to use; `old_drop_ins` are our files that lie there."""

    root: str
    environment: str
    python: str
    live: bool
    nvidia: bool
    drop_ins: tuple[str, ...] = ()
    old_drop_ins: tuple[str, ...] = ()
    order: bytes | None = None
    start: bool = True


def install(kit: Kit, facts: Facts) -> list[Step]:
    """The steps, in their order; each may be repeated.

    :raises InstallRefused: the service could not read its own program
    """
    return [
        *_environment(facts),
        WriteFile(LAUNCHER, kit.launcher),
        WriteFile(UNITS / UNIT, kit.unit),
        *_drop_ins(kit, facts),
        WriteFile(SYSUSERS, kit.sysusers),
        WriteFile(TMPFILES, kit.tmpfiles),
        WriteFile(UDEV, kit.udev),
        WriteFile(MODULES, kit.modules) if facts.nvidia else Remove(MODULES),
        Run(("systemd-sysusers", "--root={root}", SYSUSERS.name), "make the user"),
        Run(("systemd-tmpfiles", "--root={root}", "--create", TMPFILES.name), "make the directories"),
        *(
            [WriteFile(At("/etc/outrider/credentials/enrol-token"), facts.order, 0o600)]
            if facts.order
            else []
        ),
        *_activation(facts),
    ]


def uninstall(facts: Facts, purge: bool) -> list[Step]:
    """State and configuration stay, unless `purge`."""
    stop: list[Step] = (
        [Run(("systemctl", "stop", UNIT), "stop the agent", may_fail=True)] if facts.live else []
    )
    gone = [
        UNITS / UNIT,
        *(DROP_INS / name for name in facts.old_drop_ins),
        SYSUSERS,
        TMPFILES,
        UDEV,
        MODULES,
        COMMAND,
        HOME,
        *(STATE if purge else ()),
    ]
    after: list[Step] = [Run(("systemctl", "daemon-reload"), "tell systemd")] if facts.live else []
    if purge:
        after.append(Run(("userdel", "--root={root}", "outrider"), "remove the user", may_fail=True))
    disable = Run(("systemctl", "--root={root}", "disable", UNIT), "no start at boot", may_fail=True)
    return [*stop, disable, *(Remove(path) for path in gone), *after]


def _environment(facts: Facts) -> list[Step]:
    """The environment the service starts from when no release of the control plane's has taken its place."""
    if facts.root != "/":
        return [
            CopyEnvironment(ENVIRONMENT, facts.environment),
            PointLink(COMMAND, str(ENVIRONMENT / "bin/outrider")),
        ]
    for what, path in (("environment", facts.environment), ("Python", facts.python)):
        if f"{path}/".startswith(HIDDEN):
            raise InstallRefused(
                f"the {what} is {path}, which the service may not see; make one elsewhere:\n"
                "  /usr/bin/python3 -m venv /opt/outrider && /opt/outrider/bin/pip install 'outrider[cpu]'\n"
                "  /opt/outrider/bin/outrider agent install"
            )
    return [
        PointLink(ENVIRONMENT, facts.environment),
        PointLink(COMMAND, f"{facts.environment}/bin/outrider"),
    ]


def _drop_ins(kit: Kit, facts: Facts) -> list[Step]:
    unknown = sorted(set(facts.drop_ins) - set(kit.drop_ins))
    if unknown:
        raise InstallRefused(
            f"no drop-in is called {', '.join(unknown)}; there are {', '.join(sorted(kit.drop_ins))}"
        )
    wanted = {f"{OURS}{name}": kit.drop_ins[name] for name in facts.drop_ins}
    return [
        *(Remove(DROP_INS / name) for name in sorted(set(facts.old_drop_ins) - set(wanted))),
        *(WriteFile(DROP_INS / name, content) for name, content in sorted(wanted.items())),
    ]


def _activation(facts: Facts) -> list[Step]:
    enable: list[Step] = [Run(("systemctl", "--root={root}", "enable", UNIT), "start at boot")]
    if not facts.live:
        return enable
    return [
        Run(("systemctl", "daemon-reload"), "tell systemd"),
        Run(("udevadm", "control", "--reload"), "tell udev", may_fail=True),
        Run(("udevadm", "trigger", "--subsystem-match=video4linux"), "name the cameras", may_fail=True),
        *(
            [Run(("modprobe", "nvidia-uvm"), "load the module of CUDA", may_fail=True)]
            if facts.nvidia
            else []
        ),
        *enable,
        *([Run(("systemctl", "restart", UNIT), "start the agent")] if facts.start else []),
    ]
