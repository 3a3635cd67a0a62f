"""What is told about a package: the card of an accepted one, the verdict on a refused one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.errors import RuntimeFault
from runtime.model import package
from runtime.model.spec import ModelSpec
from wire.local import CheckResult

MAX_LABELS_SHOWN = 200
"""A card travels as one line; ten thousand class names would not fit it."""


def describe(
    directory: Path,
    spec: ModelSpec,
    golden: dict[str, Any],
    engine: dict[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The card: task, family, labels, input, outputs, sizes, golden."""
    manifest = package.manifest(directory)
    return {
        "name": spec.name,
        "digest": manifest.digest,
        "task": spec.task.value,
        "family": spec.family,
        "recognised": spec.recognised,
        "precision": spec.precision,
        "labels": list(spec.labels[:MAX_LABELS_SHOWN]),
        "classes": len(spec.labels),
        "input": asdict(spec.input),
        "decode": asdict(spec.decode),
        "outputs": list(engine.get("outputs", [])),
        "engine": {key: engine[key] for key in ("engine", "version", "provider") if key in engine},
        "needs": manifest.needs.model_dump(mode="json") if manifest.needs else None,
        "files": len(manifest.files),
        "total_bytes": manifest.total_bytes,
        "golden": golden,
        "notes": list(notes),
        "directory": str(directory),
    }


def refused(error: RuntimeFault) -> CheckResult:
    """The verdict on what cannot serve."""
    return CheckResult(
        ok=False,
        reason=error.reason.value,
        message=str(error),
        problems=[problem.to_json() for problem in error.problems],
    )
