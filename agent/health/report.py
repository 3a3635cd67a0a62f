"""The health document, put together from the running parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agent.clock import Clock
from agent.device import Device
from agent.health.host import HostFigures
from agent.health.nvidia import Gpus
from agent.outbox import Figures
from agent.pipelines import PipelineUnit
from agent.twin import engine_of
from agent.update.status import Status
from wire import local
from wire.health import (
    BlindNow,
    CameraFault,
    CameraHealth,
    Health,
    ModelHealth,
    OutboxHealth,
    Relief,
    SightHealth,
    SinkHealth,
    StepHealth,
)


class HealthReport:
    """Reads everything at once; blocking for a few milliseconds."""

    def __init__(
        self,
        device: Device,
        status: Callable[[], Status],
        outbox: Callable[[], Figures],
        relays: Callable[[], Mapping[str, Figures]],
        host: HostFigures,
        gpus: Gpus,
        clock: Clock,
    ) -> None:
        self._device = device
        self._status = status
        self._outbox = outbox
        self._relays = relays
        self._host = host
        self._gpus = gpus
        self._clock = clock
        self._started_mono = clock.mono()

    def read(self) -> Health:
        at_mono = self._clock.mono()
        status, outbox = self._status(), self._outbox()
        running = status.running
        return Health(
            revision=status.revision,
            agent_uptime_s=round(at_mono - self._started_mono, 1),
            host=self._host.read(at_mono, self._clock.wall()),
            accelerators=self._gpus.read(),
            cameras={
                unit.spec.camera.name: camera_health(unit, at_mono)
                for unit in self._device.pipelines.values()
            },
            models={name: self._model(model.digest) for name, model in running.models.items()}
            if running
            else {},
            outbox=OutboxHealth(rows=outbox.rows, bytes=outbox.bytes, dropped=outbox.dropped),
            relays={
                name: OutboxHealth(rows=waiting.rows, bytes=waiting.bytes, dropped=waiting.dropped)
                for name, waiting in self._relays().items()
            },
        )

    def _model(self, digest: str) -> ModelHealth:
        unit = engine_of(self._device, digest)
        if unit is None:
            return ModelHealth(digest=digest, state="failed")
        stats = unit.stats
        return ModelHealth(
            digest=digest,
            state=unit.state,
            engine=_engine_words(unit.info, digest),
            pid=unit.keeper.pid,
            requests=stats.requests if stats else 0,
            errors=stats.errors if stats else 0,
            infer_p50_ms=stats.infer_p50_ms if stats and stats.requests else None,
            infer_p95_ms=stats.infer_p95_ms if stats and stats.requests else None,
            batch_mean=round(stats.requests / stats.batches, 2) if stats and stats.batches else None,
            restarts=unit.keeper.restarts,
            rss_bytes=unit.keeper.rss_bytes,
        )


def _engine_words(info: Mapping[str, Any], digest: str) -> str:
    """Engine and provider, e.g. `onnxruntime 1.32.0 CPUExecutionProvider`; empty before the engine has told."""
    for model in info.values():
        if isinstance(model, dict) and model.get("digest") == digest:
            return " ".join(str(model[key]) for key in ("engine", "version", "provider") if model.get(key))
    return ""


def camera_health(unit: PipelineUnit, at_mono: float) -> CameraHealth:
    """One camera since its pipeline was defined."""
    totals, stats = unit.ledger.totals(), unit.stats
    blind = unit.ledger.blind_now(at_mono)
    return CameraHealth(
        state=unit.camera.state if unit.up else unit.state,
        pipeline=unit.spec.name,
        pid=unit.keeper.pid,
        fps=stats.fps if stats else 0.0,
        frames=totals.frames,
        results=totals.results,
        no_answer=totals.no_answer,
        skipped=totals.skipped,
        latency_p50_ms=stats.latency_p50_ms if stats and stats.results else None,
        latency_p95_ms=stats.latency_p95_ms if stats and stats.results else None,
        blind_s={cause: round(blind_s, 3) for cause, blind_s in totals.blind_s.items()},
        blind_now=BlindNow(cause=blind[0], for_s=round(blind[1], 3)) if blind else None,
        blind_hour_s=unit.last_hour.read(unit.ledger, at_mono),
        faults=tuple(
            CameraFault(
                reason=fault.reason,
                message=fault.message,
                for_s=round(at_mono - fault.since_mono, 3),
                blind=fault.blind,
            )
            for fault in unit.faults
        ),
        relief=Relief(share=round(unit.relief.share, 3), reason=unit.relief.reason.value)
        if unit.relief.reason
        else None,
        decoder=unit.camera.decoder,
        drift_ms=stats.drift_ms if stats else None,
        brightness=stats.brightness if stats else None,
        packets_lost=stats.packets_lost if stats else None,
        loss_share=stats.loss_share if stats else None,
        restarts=unit.keeper.restarts,
        events=totals.events,
        events_dropped=totals.events_dropped,
        step_errors=totals.step_errors,
        steps={name: StepHealth(**dataclasses.asdict(s)) for name, s in stats.steps.items()} if stats else {},
        passed_over=stats.passed_over if stats else {},
        sinks={name: SinkHealth(**dataclasses.asdict(s)) for name, s in stats.sinks.items()} if stats else {},
        rss_bytes=unit.keeper.rss_bytes,
        models=stats.models if stats else {},
        workflow=stats.workflow_digest if stats else unit.spec.workflow_digest,
        sight=_sight(stats.sight if stats else None),
    )


def _sight(sight: local.Sight | None) -> SightHealth | None:
    if sight is None or not sight.counted:
        return None
    return SightHealth(
        asked=sight.asked, empty=sight.empty, scores=tuple(sight.scores), classes=dict(sight.classes)
    )
