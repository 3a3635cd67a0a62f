"""`outrider fleet bench`: one table of hardware and model, and the order to measure on a device."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, remote

if TYPE_CHECKING:
    from fleet.client import Client

MOST_S = 300.0
"""The control plane waits no longer for an answer; one that comes later is kept all the same."""


def configure(commands: Commands) -> None:
    """Add `bench` and, below it, `run`."""
    bench = remote(commands, "bench", "what models cost on the fleet's machines, as one table", table)
    _configure_table(bench)
    actions = bench.add_subparsers(dest="bench_command", metavar="run")
    _configure_run(remote(actions, "run", "have a device measure a model of it", run))


def _configure_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="this device only")
    parser.add_argument("--model", help="this model only: NAME, NAME@VERSION or a digest")


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device")
    parser.add_argument("model", help="as the device's desired state calls it, or a digest the device holds")
    parser.add_argument(
        "--engine", default="", metavar="ENGINE[:PRECISION]", help="default: the desired state's"
    )
    parser.add_argument("--batch", default="1,4,8", metavar="1,4,8")
    parser.add_argument("--cameras", default="1,2,4", metavar="1,2,4")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--timeout", type=float, default=240.0, dest="timeout_s", help="seconds, at most 300")


def table(args: argparse.Namespace, client: Client) -> int:
    """The newest figures of each device, model and engine."""
    rows = client.benchmarks(args.device, args.model)
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print("nothing was measured yet: outrider fleet bench run DEVICE MODEL", file=sys.stderr)
        return 0
    print("\n".join(lines(rows)))
    return 0


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A heading and a line a measurement."""
    from outrider import table as columns

    names = {
        "model": "MODEL", "hardware": "HARDWARE", "device": "DEVICE", "engine": "ENGINE", "p50": "p50 ms",
        "p99": "p99 ms", "rate": "IMAGES/S", "cameras": "BY CAMERAS", "memory": "MB", "joules": "J/IMAGE", "at": "WHEN",
    }  # fmt: skip
    figures = frozenset(("p50", "p99", "rate", "memory", "joules"))
    return columns.lines([_shown(row) for row in rows], names, right=figures)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    from outrider.commands.bench import best_rate, engine_words

    figures = row["figures"]
    machine, latency = figures["hardware"], figures["latency_ms"]
    joules = figures["energy"].get("joules_per_frame")
    return {
        **row,
        "model": row["names"][-1] if row["names"] else row["model"],
        "hardware": f"{row['hardware']}, {machine.get('cpus') or '?'} CPUs",
        "engine": engine_words(figures["engine"]),
        **{key: None if latency[key] is None else f"{latency[key]:.1f}" for key in ("p50", "p99")},
        "rate": best_rate(figures),
        "cameras": " ".join(f"{c['cameras']}:{c['frames_per_s']:.0f}" for c in figures["cameras"]),
        "memory": f"{figures['memory']['peak_rss_bytes'] / 1e6:.0f}",
        "joules": "-" if joules is None else joules,
        "at": time.strftime("%Y-%m-%d %H:%M", time.localtime(row["at"])),
    }


def run(args: argparse.Namespace, client: Client) -> int:
    """Have a device measure a model, and show what it says."""
    from fleet.client import ApiError
    from outrider.commands.bench import report
    from wire.bench import COMMAND
    from wire.reasons import Reason

    engine, _, precision = args.engine.partition(":")
    timeout_s = min(args.timeout_s, MOST_S)
    order = {
        "model": args.model, "engine": engine, "precision": precision, "batches": _numbers(args.batch),
        "cameras": _numbers(args.cameras), "seconds": args.seconds, "deadline_s": max(5.0, timeout_s - 2.0),
    }  # fmt: skip
    try:
        answer = client.command(args.device, COMMAND, order, timeout_s)
    except ApiError as e:
        if e.reason is Reason.NO_RESPONSE:
            print("a late answer is kept all the same: outrider fleet bench", file=sys.stderr)
        raise
    if args.json:
        print(json.dumps(answer, indent=2))
    elif answer.get("ok"):
        print("\n".join(report(answer["result"])))
    else:
        print(
            f"outrider fleet: {args.device}: {answer.get('message')} [{answer.get('reason')}]",
            file=sys.stderr,
        )
    return 0 if answer.get("ok") else 1


def _numbers(text: str) -> list[int]:
    from fleet.errors import Refused
    from wire.reasons import Reason

    if not all(part.isdigit() for part in text.split(",")):
        raise Refused(Reason.INVALID_FIELD, f"{text!r} is not a list of numbers, for example 1,4,8")
    return [int(part) for part in text.split(",")]
