"""`python -m runtime.workflow.check FILE`: compile one definition and print one `wire.local.CheckResult` line."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import WorkflowRefused
from runtime.workflow.compiler import compile_definition
from runtime.workflow.graph import Graph
from runtime.workflow.permits import STRICT, Code, Permits
from wire.local import CheckResult, encode
from wire.reasons import Reason

SKIP = "--skip-cloud-blocks"
"""Blocks that do not run on a device are named in the card, not refused."""
READ = "--read-code"
"""Code that the definition brings is read, never run, and named in the card."""
MAX_FILE_BYTES = 4 * 1024 * 1024


def read_document(path: Path) -> Any:
    """The parsed JSON of a definition.

    :raises WorkflowRefused: it cannot be read, is too large or is not JSON
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise WorkflowRefused(
                Reason.TOO_LARGE, f"{path.name} has {size_bytes} bytes; at most {MAX_FILE_BYTES} are read"
            )
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise WorkflowRefused(Reason.WORKFLOW_INVALID, f"{path.name} cannot be read as JSON: {e}") from e


def card(graph: Graph) -> dict[str, Any]:
    """What a workflow needs and gives."""
    return {
        "passed_over": [dataclasses.asdict(step) for step in graph.passed_over],
        "code": list(graph.code),
        "inputs": [
            {"name": i.name, "kinds": sorted(i.kinds), "dimensionality": i.dimensionality}
            for i in graph.inputs.values()
        ],
        "model_ids": list(graph.model_ids),
        "blocks": list(graph.blocks),
        "steps": list(graph.step_names),
        "outputs": [o.name for o in graph.outputs],
    }


def check_file(path: Path, permits: Permits = STRICT) -> CheckResult:
    """The verdict about one file; never raises for what is in it."""
    try:
        return CheckResult(True, card=card(compile_definition(read_document(path), permits=permits)))
    except WorkflowRefused as e:
        return CheckResult(False, e.reason.value, str(e)[:4000], [p.to_json() for p in e.problems])


def main(argv: Sequence[str]) -> int:
    """Exit status 0 when accepted, 1 when refused, 2 for wrong usage."""
    flags = {argument for argument in argv if argument.startswith("--")}
    files = [argument for argument in argv if argument not in flags]
    if len(files) != 1 or flags - {SKIP, READ}:
        print(f"usage: python -m runtime.workflow.check [{SKIP}] [{READ}] FILE", file=sys.stderr)
        return 2
    permits = Permits(SKIP in flags, Code.READ if READ in flags else Code.REFUSE)
    result = check_file(Path(files[0]), permits)
    sys.stdout.buffer.write(encode(result))
    return 0 if result.ok else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
