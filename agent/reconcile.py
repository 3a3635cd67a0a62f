"""From what runs and what is desired to what is to be done, as data. Pure.

A layout is what a desired state comes to on a device: engine processes, keyed by what they serve, and pipelines. A plan is the
difference of two layouts; what is the same in both is in no plan.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from agent.errors import UpdateRefused
from wire import local
from wire.desired import Camera, Desired, EngineOptions, Model
from wire.problem import Problem
from wire.reasons import Reason
from wire.secret import names_in
from wire.source import default_pace

KEY_DIGITS = 16


@dataclass(frozen=True)
class EngineSpec:
    """An engine process. `key` is made of what it serves and how, so that an equal engine has an equal socket."""

    key: str
    digests: tuple[str, ...]
    options: EngineOptions


@dataclass(frozen=True)
class Use:
    """A model that a pipeline uses: the package's name and digest, and the engine that serves it."""

    name: str
    digest: str
    engine: str


@dataclass(frozen=True)
class PipelineSpec:
    """A pipeline process: its camera, and the rest, which a swap can replace."""

    name: str
    camera: local.CameraSource
    workflow: str
    workflow_digest: str
    uses: tuple[tuple[str, Use], ...]
    parameters: dict[str, Any]
    send: str
    min_interval_s: float
    skip_cloud_blocks: bool = False
    sealed: tuple[tuple[str, str], ...] = ()
    """The secrets its camera uses, as they are sealed: another one means another process."""


@dataclass(frozen=True)
class Layout:
    """Everything that runs, or is to run."""

    engines: dict[str, EngineSpec] = field(default_factory=dict)
    pipelines: dict[str, PipelineSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """`starts` are pipelines whose process is new, also those whose camera changed; `switches` keep their process."""

    engine_starts: tuple[EngineSpec, ...] = ()
    starts: tuple[PipelineSpec, ...] = ()
    switches: tuple[PipelineSpec, ...] = ()
    stops: tuple[str, ...] = ()
    engine_stops: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return self == Plan()


def layout(desired: Desired) -> Layout:
    """What the document comes to on a device.

    :raises UpdateRefused: models of one engine group ask for different options
    """
    engine_of: dict[str, EngineSpec] = {}
    problems: list[Problem] = []
    for group, models in _groups(desired).items():
        options = {model.engine for model in models.values()}
        if len(options) > 1:
            problems.append(_mixed(group, models))
        spec = _engine_spec(models)
        engine_of |= dict.fromkeys(models, spec)
    if problems:
        raise UpdateRefused(Reason.INVALID_FIELD, "engine groups: " + "; ".join(map(str, problems)), problems)
    return Layout(
        {spec.key: spec for spec in engine_of.values()},
        {name: _pipeline_spec(desired, name, engine_of) for name in desired.pipelines},
    )


def plan(running: Layout, desired: Layout) -> Plan:
    """What turns the one into the other; empty when they are equal."""
    starts, switches = [], []
    for name, spec in desired.pipelines.items():
        old = running.pipelines.get(name)
        if old is None or (old.camera, old.sealed) != (spec.camera, spec.sealed):
            starts.append(spec)
        elif old != spec:
            switches.append(spec)
    return Plan(
        tuple(spec for key, spec in desired.engines.items() if key not in running.engines),
        tuple(starts),
        tuple(switches),
        tuple(name for name in running.pipelines if name not in desired.pipelines),
        tuple(key for key in running.engines if key not in desired.engines),
    )


def applied(running: Layout, steps: Plan) -> Layout:
    """The layout after the plan."""
    engines = {key: spec for key, spec in running.engines.items() if key not in steps.engine_stops}
    pipelines = {name: spec for name, spec in running.pipelines.items() if name not in steps.stops}
    engines |= {spec.key: spec for spec in steps.engine_starts}
    pipelines |= {spec.name: spec for spec in (*steps.starts, *steps.switches)}
    return Layout(engines, pipelines)


def camera_source(name: str, camera: Camera) -> local.CameraSource:
    """The camera as its pipeline opens it."""
    pace = camera.pace or default_pace(camera.source)
    return local.CameraSource(name, camera.source, pace, camera.fps, camera.loop, camera.options, camera.care)


def _groups(desired: Desired) -> dict[str, dict[str, Model]]:
    """The models that share a process; a model without a group shares with its equals only."""
    groups: dict[str, dict[str, Model]] = {}
    for name, model in desired.models.items():
        alone = f"{model.digest} {model.engine.model_dump_json()}"
        groups.setdefault(model.engine_group or alone, {})[name] = model
    return groups


def _engine_spec(models: dict[str, Model]) -> EngineSpec:
    digests = tuple(sorted({model.digest for model in models.values()}))
    options = models[min(models)].engine
    text = json.dumps([digests, options.to_json()], sort_keys=True)
    return EngineSpec(hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS], digests, options)


def _pipeline_spec(desired: Desired, name: str, engine_of: dict[str, EngineSpec]) -> PipelineSpec:
    pipeline = desired.pipelines[name]
    uses = {
        model_id: Use(model, desired.models[model].digest, engine_of[model].key)
        for model_id, model in pipeline.models.items()
    }
    if faces := desired.cameras[pipeline.camera].privacy.faces:
        uses[local.FACES] = Use(faces, desired.models[faces].digest, engine_of[faces].key)
    wanted = names_in(desired.cameras[pipeline.camera].source)
    return PipelineSpec(
        name,
        camera_source(pipeline.camera, desired.cameras[pipeline.camera]),
        pipeline.workflow,
        desired.workflows[pipeline.workflow].digest,
        tuple(sorted(uses.items())),
        pipeline.parameters,
        pipeline.events.send,
        pipeline.events.min_interval_s,
        desired.workflows[pipeline.workflow].skip_cloud_blocks,
        tuple(sorted((secret, desired.secrets.get(secret, "")) for secret in wanted)),
    )


def _mixed(group: str, models: dict[str, Model]) -> Problem:
    return Problem(
        f"models.{min(models)}.engine",
        Reason.INVALID_FIELD,
        f"models {sorted(models)} share engine group {group!r} and ask for different engine options",
        expected="the same options in one group",
        remedy="make them equal, or give the models different groups",
    )
