"""`python -m runtime.bench PACKAGE`: measures a package on this machine, as one line of `wire.local.BenchResult`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from runtime.bench.measure import Bench
from runtime.bench.plan import Plan, Subject
from runtime.errors import RuntimeFault
from runtime.lifeline import hold
from runtime.model import package
from wire.local import BenchResult, encode


def numbers(text: str) -> tuple[int, ...]:
    """`1,4,8` as numbers."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, for example 1,4,8") from None


def main(arguments: list[str]) -> int:
    """Status 0 with figures, 1 with a reason."""
    parser = argparse.ArgumentParser(prog="python -m runtime.bench")
    parser.add_argument("package", type=Path)
    parser.add_argument("--digest", default="", help="known to the caller; else it is computed")
    parser.add_argument("--batches", type=numbers, default=Plan.batches)
    parser.add_argument("--cameras", type=numbers, default=Plan.cameras)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--engine", default=Plan.engine)
    parser.add_argument("--precision", default=Plan.precision)
    parser.add_argument("--threads", type=int, default=Plan.threads)
    parser.add_argument("--cache-dir", default=Plan.cache_dir)
    parser.add_argument("--nice", type=int, default=0, help="be modest beside what serves")
    asked = parser.parse_args(arguments)
    hold()  # killed with its parent, and its own children with it
    with contextlib.suppress(OSError):
        os.nice(asked.nice)
    result = _measure(asked)
    sys.stdout.buffer.write(encode(result))
    return 0 if result.ok else 1


def _measure(asked: argparse.Namespace) -> BenchResult:
    try:
        plan = Plan(
            asked.batches, asked.cameras, asked.seconds, engine=asked.engine, precision=asked.precision,
            threads=asked.threads, cache_dir=asked.cache_dir,
        )  # fmt: skip
        spec = package.read(asked.package)
        subject = Subject(asked.package, spec.name, asked.digest or package.digest(asked.package))
        return BenchResult(True, figures=Bench(subject, plan, _silent).run())
    except RuntimeFault as e:
        return BenchResult(False, e.reason.value, str(e))


def _silent(_what: str, _done: int, _of: int) -> None:
    return


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
