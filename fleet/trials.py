"""Definitions tried on a picture or a clip before anybody uses them: in a child with limits, with models of the registry, sending nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fleet import shapes
from fleet.checker import Checker
from fleet.errors import Refused
from fleet.objects import Objects
from fleet.registry import Registry, refusal
from fleet.tables import Version
from wire.doc import read
from wire.errors import Refused as WireRefused
from wire.manifest import Manifest
from wire.names import is_digest
from wire.problem import Problem
from wire.reasons import Reason

MOST_FRAMES = 600
MOST_MODELS = 16


@dataclass(frozen=True)
class Trial:
    """`models`: model id → a model of the registry (`name`, `name@version`, `name@alias`). `frames`: at most so many of a clip."""

    definition: bytes
    models: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 200


class Trials:
    """Runs trials, one at a time. `seconds`: how long one may look at frames."""

    def __init__(self, registry: Registry, objects: Objects, checker: Checker, seconds: float = 45.0) -> None:
        self._registry = registry
        self._objects = objects
        self._checker = checker
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for one trial; the media is to lie in it as `media`."""
        found: AbstractContextManager[Path] = self._registry.scratch()
        return found

    async def run(self, folder: Path, trial: Trial) -> shapes.TrialView:
        """What the workflow gives for the media in the folder.

        :raises Refused: the definition, a model or the media cannot be used, with every problem
        """
        if len(trial.models) > MOST_MODELS:
            raise Refused(
                Reason.INVALID_FIELD, f"{len(trial.models)} models; at most {MOST_MODELS} are tried"
            )
        rows = await asyncio.to_thread(self._found, trial.models)
        async with self._turn:
            return await self._run(folder, trial, rows)

    async def _run(self, folder: Path, trial: Trial, rows: Mapping[str, Version]) -> shapes.TrialView:
        places = {}
        for number, (model_id, row) in enumerate(rows.items()):
            places[model_id] = f"model-{number}"
            await self._unpack(row, folder / places[model_id])
        (folder / "workflow.json").write_bytes(trial.definition)
        wish = {
            "media": "media",
            "models": places,
            "parameters": trial.parameters,
            "frames": min(trial.frames, MOST_FRAMES),
            "seconds": self._seconds,
        }
        (folder / "trial.json").write_text(json.dumps(wish))
        verdict = await self._checker.check("trial", folder)
        if not verdict.ok:
            raise refusal("workflow", verdict)
        return await asyncio.to_thread(_view, folder, verdict.card)

    def _found(self, models: Mapping[str, str]) -> dict[str, Version]:
        rows, problems = {}, []
        for model_id, reference in models.items():
            found = self._registry.lookup("model", str(reference))
            if isinstance(found, Problem):
                problems.append(
                    Problem(f"models.{model_id}", found.reason, found.message, found.expected, found.remedy)
                )
            else:
                rows[model_id] = found
        if problems:
            raise Refused(problems[0].reason, "; ".join(map(str, problems)), problems)
        return rows

    async def _unpack(self, row: Version, target: Path) -> None:
        """A model's files as they were uploaded."""
        size_bytes = await asyncio.to_thread(self._registry.size_of, row.digest)
        content = b"".join([chunk async for chunk in self._objects.stream(row.digest, 0, size_bytes)])
        try:
            manifest = read(Manifest, json.loads(content))
        except (ValueError, WireRefused) as e:
            raise Refused(Reason.PACKAGE_INVALID, f"{row.name}@{row.version} has no manifest: {e}") from e
        for entry in manifest.files:
            assert is_digest(entry.sha256)
            path = target / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                async for chunk in self._objects.stream(entry.sha256, 0, entry.size):
                    await asyncio.to_thread(file.write, chunk)


def _view(folder: Path, card: Mapping[str, Any]) -> shapes.TrialView:
    frames: list[shapes.TrialFrame] = []
    for frame in card["frames"]:
        picture = folder / Path(frame["picture"]).name
        jpeg = picture.read_bytes() if picture.is_file() and not picture.is_symlink() else b""
        frames.append(cast("shapes.TrialFrame", {**frame, "picture": base64.b64encode(jpeg).decode()}))
    return {
        "frames": frames,
        "done": card["done"],
        "blind": card["blind"],
        "failed": card["failed"],
        "step_us": card["step_us"],
        "not_sent": card["not_sent"],
        "passed_over": card["passed_over"],
        "ended": card["ended"],
    }
