"""`outrider agent install | uninstall`: the agent as a service of this machine, or of an image below another root."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any


def configure(commands: Any) -> None:
    """Add both."""
    install = commands.add_parser(
        "install", help="make this environment's agent a service that starts at boot"
    )
    install.add_argument("--environment", type=Path, help="the Python environment to run (default: this one)")
    install.add_argument("--csi", action="store_true", help="CSI cameras of a Jetson (default: as found)")
    install.add_argument("--cpu-only", action="store_true", help="no GPU's devices (default: as found)")
    install.add_argument("--plain", action="store_true", help="neither, whatever is found")
    install.add_argument("--url", help="with --token: enrol at the first start, at this control plane")
    install.add_argument(
        "--token", help="a token of `outrider fleet token create`; - reads it from standard input"
    )
    install.add_argument(
        "--device", default="", help="the name to ask for; may hold {machine}, {serial}, {hostname}"
    )
    install.add_argument("--no-start", action="store_true", help="enable it, start it at the next boot")
    uninstall = commands.add_parser("uninstall", help="remove the service; identity and state stay")
    uninstall.add_argument(
        "--purge", action="store_true", help="identity, models, configuration and user too"
    )
    for command in (install, uninstall):
        command.add_argument("--root", type=Path, default=Path("/"), help="the root of an image")
        command.add_argument("--dry-run", action="store_true", help="say what would be done")


def run(arguments: argparse.Namespace) -> int:
    """:returns: 0, or 1 with a sentence on stderr"""
    from outrider.install.errors import InstallRefused

    try:
        if arguments.what == "install":
            return _install(arguments)
        return _uninstall(arguments)
    except (InstallRefused, OSError) as e:
        print(f"outrider agent {arguments.what}: {e}", file=sys.stderr)
        return 1


def _install(arguments: argparse.Namespace) -> int:
    from outrider.install import kit, machine, plan

    machine.require_linux()
    facts = machine.look(
        arguments.root, arguments.environment, _drop_ins(arguments), _order(arguments), not arguments.no_start
    )
    changed = _carry(plan.install(kit.load(), facts), arguments)
    if arguments.dry_run:
        return 0
    print(f"installed, {changed} steps changed something")
    if not facts.order and not (arguments.root / "var/lib/outrider/identity.json").exists():
        print(
            "next: sudo outrider agent enroll URL TOKEN; `outrider agent doctor` tells what is still missing"
        )
    if facts.root == "/" and not facts.live:
        print("systemd does not run here: the service is enabled and starts with the next boot")
    return 0


def _uninstall(arguments: argparse.Namespace) -> int:
    from outrider.install import machine, plan

    facts = machine.look(arguments.root, None, ())
    _carry(plan.uninstall(facts, arguments.purge), arguments)
    if not arguments.dry_run:
        kept = "" if arguments.purge else "; /var/lib/outrider and /etc/outrider are kept"
        print(f"uninstalled{kept}")
    return 0


def _carry(steps: Any, arguments: argparse.Namespace) -> int:
    from outrider.install import carry
    from outrider.install.errors import InstallRefused

    if not arguments.dry_run and os.geteuid() != 0:
        raise InstallRefused("this changes the system: run it with sudo; --dry-run shows what it would do")
    return carry.carry_out(steps, arguments.root.resolve(), print, arguments.dry_run)


def _drop_ins(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    from outrider.install.machine import CPU_ONLY, CSI

    if arguments.plain:
        return ()
    chosen = (*((CPU_ONLY,) if arguments.cpu_only else ()), *((CSI,) if arguments.csi else ()))
    return chosen or None


def _order(arguments: argparse.Namespace) -> bytes | None:
    from outrider.install.errors import InstallRefused

    if (arguments.url is None) != (arguments.token is None):
        raise InstallRefused("--url and --token go together")
    if arguments.url is None:
        return None
    import tomli_w

    token = sys.stdin.readline().strip() if arguments.token == "-" else arguments.token
    order = {"url": arguments.url, "token": token}
    return tomli_w.dumps({**order, **({"device": arguments.device} if arguments.device else {})}).encode()
