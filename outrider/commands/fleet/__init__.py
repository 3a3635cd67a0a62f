"""`outrider fleet …`: make, run and use a control plane. A module a noun; each adds its own commands."""

from __future__ import annotations

import argparse
import importlib
import sys

NOUNS = (
    "server",
    "tokens",
    "devices",
    "eventlog",
    "registry",
    "catalogue",
    "releases",
    "rollouts",
    "faults",
    "alerts",
    "trust",
    "bundle",
    "bench",
    "people",
    "audit",
    "backup",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for noun in NOUNS:
        importlib.import_module(f"outrider.commands.fleet.{noun}").configure(commands)


def run(args: argparse.Namespace) -> int:
    """Run a command; 1 for a failure, which is explained with every located problem."""
    from fleet.errors import FleetError

    try:
        return int(args.action(args) or 0)
    except FleetError as e:
        print(f"outrider fleet: {e}", file=sys.stderr)
        for problem in e.problems:
            if str(problem) not in str(e):  # many messages tell the first ones themselves
                print(f"  {problem}", file=sys.stderr)
        print(f"  [{e.reason.value}] {e.reason.text}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1
