"""How a benchmark is called and how it answers: `--json` prints one object, otherwise a line for each figure."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from typing import Any


def run(measure: Callable[..., dict[str, Any]], budgets: dict[str, str], **options: int) -> None:
    """Measure, then print the figures with the machine they were taken on. `options` of `measure` may be given, as `--NAME NUMBER`."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for name, value in options.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} where it is not given")
    arguments = parser.parse_args()
    figures = {
        **measure(**{name: getattr(arguments, name) for name in options}),
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1m": os.getloadavg()[0]},
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}" + (f"   (budget {budgets[name]})" if name in budgets else ""))
