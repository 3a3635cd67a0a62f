"""A binding brought to life: engines attached, workflow compiled. Two of these exist during a swap."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.camera.reader import Frame
from runtime.camera.source import kind_of
from runtime.errors import RuntimeFault, Transient, WorkflowRefused
from runtime.model.attachment import AttachedEngine
from runtime.pipeline.events import Policy
from runtime.sinks.desk import Desk
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Run
from runtime.workflow.graph import Graph
from runtime.workflow.permits import Code, Permits
from runtime.workflow.values import ImageValue, VideoMetadata
from wire import local
from wire.local import Binding, ModelBinding
from wire.problem import Problem
from wire.reasons import Reason
from wire.source import Kind

SLOTS = 4
"""Requests of one pipeline to one engine that may be under way: two frames, and as many crops at a time."""

Attach = Callable[[ModelBinding], AttachedEngine]


@dataclass
class Active:
    """What works on frames. `in_flight` counts the frames that were begun here and are not finished."""

    binding: Binding
    engines: dict[str, AttachedEngine]
    executor: Executor
    policy: Policy
    camera: local.CameraSource
    in_flight: int = 0

    @property
    def models(self) -> dict[str, ModelBinding]:
        """Those of the workflow."""
        return {name: model for name, model in self.binding.models.items() if name != local.FACES}

    @property
    def digests(self) -> dict[str, str]:
        """Package digest by the workflow's model id: the provenance of every event."""
        return {model_id: model.digest for model_id, model in self.models.items()}

    @property
    def names(self) -> dict[str, str]:
        return {model_id: model.name for model_id, model in self.models.items()}

    @property
    def origin(self) -> dict[str, Any]:
        """Where results come from."""
        return {
            "revision": self.binding.revision,
            "workflow": self.binding.workflow_digest,
            "models": self.digests,
            "model_names": self.names,
        }

    @property
    def faces(self) -> ModelBinding | None:
        """The model that finds what the policy hides."""
        return self.binding.models.get(local.FACES)

    @property
    def attached(self) -> bool:
        """Whether every engine can be asked."""
        return all(engine.attached for engine in self.engines.values())

    def begin(self, frame: Frame, fps: float) -> Run:
        """Hand a frame to the models that need nothing but the picture."""
        metadata = VideoMetadata(
            video_identifier=self.camera.name,
            frame_number=frame.seq,
            frame_timestamp_wall=frame.captured_wall,
            fps=fps,
            comes_from_video_file=kind_of(self.camera) is Kind.FILE,
        )
        return self.executor.begin({**self.binding.parameters, **self._images(frame, metadata)})

    def _images(self, frame: Frame, metadata: VideoMetadata) -> dict[str, Any]:
        return {
            name: ImageValue(frame.image, metadata, in_place=True)
            for name in self.executor.graph.image_inputs
        }

    def close(self) -> None:
        self.executor.close()
        for engine in self.engines.values():
            with contextlib.suppress(RuntimeFault, OSError):
                engine.close()


class Candidate:
    """The binding that is being prepared, until it is taken or given up. What comes alive too late is closed at once."""

    def __init__(self) -> None:
        self._ticket = ""
        self._active: Active | None = None

    @property
    def living(self) -> list[Active]:
        """The binding, once it has come alive."""
        return [self._active] if self._active else []

    def expect(self, ticket: str) -> None:
        """Wait for the binding of this ticket, for none where it is empty; another one is given up."""
        if self._active is not None:
            self._active.close()
        self._ticket, self._active = ticket, None

    def arrived(self, ticket: str, active: Active) -> None:
        """A binding has come alive."""
        if ticket != self._ticket or self._active is not None:
            active.close()
            return
        self._active = active

    def take(self, ticket: str) -> Active | None:
        """The binding of this ticket, which is the caller's from now on; None where it is not there."""
        if ticket != self._ticket or self._active is None:
            return None
        active, self._ticket, self._active = self._active, "", None
        return active


def read_workflow(path: str, binding: Binding, code: Code = Code.REFUSE) -> Graph:
    """Compile the workflow of a binding.

    :raises WorkflowRefused: with every problem; also when the workflow asks for models that the binding does not map
    """
    try:
        definition = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as e:
        raise WorkflowRefused(
            Reason.WORKFLOW_INVALID, f"workflow {binding.workflow!r} cannot be read: {e}"
        ) from e
    graph = compile_definition(definition, permits=Permits(binding.skip_cloud_blocks, code))
    missing = sorted(set(graph.model_ids) - set(binding.models))
    if missing:
        problems = [
            Problem(
                f"models.{model_id}",
                Reason.UNKNOWN_REFERENCE,
                f"workflow {binding.workflow!r} asks for model {model_id!r}, which the pipeline does not map",
                expected=f"a mapping for each of {sorted(graph.model_ids)}",
                remedy="name a package for it under the pipeline's models",
            )
            for model_id in missing
        ]
        raise WorkflowRefused(Reason.UNKNOWN_REFERENCE, "; ".join(map(str, problems)), problems)
    return graph


def activate(
    binding: Binding,
    camera: local.CameraSource,
    attach: Attach,
    deadline_s: float,
    code: Code = Code.REFUSE,
    desk: Desk | None = None,
) -> Active:
    """Compile, then attach; with `deadline_s` 0 engines that are not there yet are attached later, by themselves.

    :raises WorkflowRefused: the workflow cannot run
    :raises Transient: an engine cannot be attached in time
    """
    graph = read_workflow(binding.workflow_path, binding, code)
    engines: dict[str, AttachedEngine] = {}
    deadline_mono = time.monotonic() + deadline_s
    try:
        for model_id in graph.model_ids:
            engines[model_id] = attach(binding.models[model_id])
        for model_id, engine in engines.items():
            if deadline_s and not engine.connect(max(0.05, deadline_mono - time.monotonic())):
                raise Transient(
                    Reason.ENGINE_DOWN,
                    f"engine of model {model_id!r} did not accept the pipeline within {deadline_s} s",
                )
        executor = Executor(graph, engines, Surroundings(time.time, time.monotonic, desk=desk or Desk()))
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise
    return Active(binding, engines, executor, Policy(binding.send, binding.min_interval_s), camera)
