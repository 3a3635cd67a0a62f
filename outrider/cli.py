"""The command line: `outrider COMMAND …`. Each command is a module of `outrider.commands`, imported only when it is named."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": "watch one camera with one model, control plane and all, on this machine",
    "infer": "run a model over a camera, a video or pictures",
    "model": "pack, check, measure and compare models",
    "workflow": "check and run workflow definitions",
    "bench": "measure models on this machine: latency, throughput, memory, energy",
    "camera": "find cameras on the local network",
    "agent": "run, enrol and ask the agent of this device",
    "fleet": "run and use the control plane",
    "doctor": "tell what this machine can run and what is missing",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for a failure that was explained, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        status = _command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has enough; what is still buffered must not fail at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "--version") or arguments[0] not in COMMANDS:
        return _overview(arguments)
    name = arguments[0]
    module = importlib.import_module(f"outrider.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"outrider {name}", description=COMMANDS[name])
    module.configure(parser)
    status = module.run(parser.parse_args(arguments[1:]))
    return int(status or 0)


def _overview(arguments: list[str]) -> int:
    from outrider import __version__

    if arguments[:1] == ["--version"]:
        print(f"outrider {__version__}")
        return 0
    lines = ["usage: outrider COMMAND …", "", *(f"  {name:10} {text}" for name, text in COMMANDS.items())]
    lines += ["", "outrider COMMAND --help tells the rest."]
    asked = not arguments or arguments[0] in ("-h", "--help")
    if not asked:
        print(f"outrider: no command is called {arguments[0]!r}", file=sys.stderr)
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
