"""Reported state: what runs and how it is, told on every change of phase at once, on other changes once a second at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.device import Device
from agent.engines import EngineUnit
from agent.pipelines import PipelineUnit
from agent.update.status import Status
from wire.desired import Desired
from wire.inventory import Inventory
from wire.reasons import Reason
from wire.redact import redact
from wire.reported import ObjectState, Reported

RETRY_S = 5.0
QUIET_S = 1.0


class Twin:
    """Builds the document. `publish` is called with it when it differs from the one before."""

    def __init__(
        self,
        device: Device,
        status: Callable[[], Status],
        clock: Clock,
        publish: Callable[[Reported], None],
        agent_version: str,
        release: Callable[[], str] = lambda: "",
    ) -> None:
        self._device = device
        self._status = status
        self._clock = clock
        self._publish = publish
        self._version = agent_version
        self._release = release
        self._since: dict[str, tuple[str, str | None, float]] = {}
        self._last: Reported | None = None
        self._dirty = True
        self._next_mono = 0.0
        self._inventory: Inventory | None = None

    def made_of(self, inventory: Inventory) -> None:
        """What the machine consists of; told if it is news."""
        if inventory != self._inventory:
            self._inventory = inventory
            self.changed()

    def changed(self) -> None:
        """Something has changed; the next tick tells it."""
        self._dirty = True

    def lost(self) -> None:
        """What was told last could not be kept: it is told again."""
        self._last, self._dirty = None, True
        self._next_mono = self._clock.mono() + RETRY_S

    def tick(self, at_mono: float) -> None:
        if self._dirty and at_mono >= self._next_mono:
            self.tell()

    def tell(self, *, again: bool = False) -> None:
        """Publish now; with `again` even what has not changed."""
        self._dirty = False
        self._next_mono = self._clock.mono() + QUIET_S
        reported = self.reported()
        if again or reported != self._last:
            self._last = reported
            self._publish(reported)

    def reported(self) -> Reported:
        """The document as of now."""
        status = self._status()
        objects: dict[str, Any] = self._objects(status.running) if status.running else {}
        return Reported(
            revision=status.revision,
            offered=status.offered,
            phase=status.phase,
            reason=status.reason,
            message=redact(status.message) if status.message else None,
            problems=status.problems,
            progress=status.progress,
            agent_version=self._version,
            agent_release=self._release(),
            swaps=status.swaps,
            update=status.report,
            inventory=self._inventory,
            **objects,
        )

    def _objects(self, running: Desired) -> dict[str, dict[str, ObjectState]]:
        units = self._device.pipelines
        return {
            "cameras": {name: self._camera(name) for name in running.cameras},
            "models": {name: self._model(name, model.digest) for name, model in running.models.items()},
            "workflows": {name: self._workflow(name, w.digest) for name, w in running.workflows.items()},
            "pipelines": {
                name: self._object(f"pipeline {name}", *_pipeline(units[name]))
                for name in running.pipelines
                if name in units
            },
        }

    def _camera(self, name: str) -> ObjectState:
        unit = self._device.pipeline_of(name)
        if unit is None:
            return self._object(f"camera {name}", "ok", None, "no pipeline uses it")
        camera = unit.camera
        if camera.state == "streaming" and unit.faults:
            fault = unit.faults[0]
            return self._object(f"camera {name}", "degraded", fault.reason, fault.message)
        if camera.state == "off":
            return self._object(f"camera {name}", "ok", camera.reason, camera.message)
        if camera.state in ("streaming", "ended"):
            reason = Reason.CAMERA_ENDED.value if camera.state == "ended" else camera.reason or None
            return self._object(f"camera {name}", "ok", reason, camera.message)
        state = "starting" if camera.state == "opening" else "failed"
        return self._object(f"camera {name}", state, camera.reason or None, camera.message)

    def _model(self, name: str, digest: str) -> ObjectState:
        unit = engine_of(self._device, digest)
        if unit is None:
            return self._object(f"model {name}", "failed", Reason.ENGINE_DOWN.value, "", digest)
        reason = unit.reason.value if unit.reason else None
        return self._object(f"model {name}", unit.state, reason, unit.message, digest)

    def _workflow(self, name: str, digest: str) -> ObjectState:
        users = [unit for unit in self._device.pipelines.values() if unit.spec.workflow_digest == digest]
        for unit in users:
            if unit.refused is not None:
                return self._object(
                    f"workflow {name}", "refused", unit.refused.reason.value, str(unit.refused), digest
                )
        for unit in users:
            if unit.stats is not None and unit.stats.step_errors:
                text = "; ".join(f"{step}: {m}" for step, m in unit.stats.step_messages.items())
                return self._object(
                    f"workflow {name}", "degraded", Reason.STEP_FAILED.value, text[:400], digest
                )
        return self._object(f"workflow {name}", "ok", None, "", digest)

    def _object(
        self, key: str, state: str, reason: str | None, message: str, digest: str | None = None
    ) -> ObjectState:
        """The state, with the time since when it is so."""
        before = self._since.get(key)
        if before is None or before[:2] != (state, reason):
            before = self._since[key] = (state, reason, round(self._clock.wall(), 3))
        return ObjectState(
            state=state, digest=digest, reason=reason, message=redact(message) or None, since=before[2]
        )


def engine_of(device: Device, digest: str) -> EngineUnit | None:
    """The engine that serves a model; the newest where an older one is kept in reserve."""
    return next((unit for unit in reversed(device.engines.values()) if digest in unit.spec.digests), None)


def _pipeline(unit: PipelineUnit) -> tuple[str, str | None, str]:
    if unit.refused is not None:
        return unit.state, unit.refused.reason.value, str(unit.refused)
    if not unit.up:
        down = unit.state == "failed"
        reason = Reason.PIPELINE_DOWN if down else Reason.STARTING
        if unit.keeper.flapping:
            reason = Reason.PIPELINE_FLAPPING
        return unit.state, reason.value, reason.text
    if unit.faults:
        return unit.state, unit.faults[0].reason, unit.faults[0].message
    if unit.stats is not None and unit.stats.blind_cause:
        return unit.state, unit.stats.blind_cause, ""
    if unit.state == "degraded" and unit.stats is not None and unit.stats.step_errors:
        return unit.state, Reason.STEP_FAILED.value, ""
    return unit.state, unit.camera.reason or None, unit.camera.message
