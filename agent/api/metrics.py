"""Health as Prometheus text (exposition format 0.0.4), so that any scraper reads a device without a broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wire.health import Accelerator, CameraHealth, Health, ModelHealth

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def text(health: Health, *, connected: bool) -> str:
    """The whole page."""
    cameras, models = health.cameras, health.models
    host = health.host
    parts = [
        _family("revision", "gauge", "Revision that runs.", [({}, health.revision)]),
        _family("connected", "gauge", "1 while the broker is connected.", [({}, float(connected))]),
        _family("agent_uptime_seconds", "gauge", "Since the agent's start.", [({}, health.agent_uptime_s)]),
        _family("cpu_percent", "gauge", "Load of the processor.", [({}, host.cpu_percent)]),
        _family("memory_available_bytes", "gauge", "Free memory.", [({}, host.memory_available_bytes)]),
        _family("disk_free_bytes", "gauge", "Free space.", [({}, host.disk_free_bytes)]),
        _family("temperature_celsius", "gauge", "Of the processor.", _told({}, host.temperature_celsius)),
        *_accelerator_families(health.accelerators),
        *_outbox_families(health),
        *_camera_families(cameras),
        *_sink_families(cameras),
        *_model_families(models),
    ]
    return "".join(parts)


def _accelerator_families(accelerators: Sequence[Accelerator]) -> Iterable[str]:
    def each(name: str, factor: float = 1.0) -> list[Sample]:
        return [
            ({"index": str(index), "name": a.name}, float(value) * factor)
            for index, a in enumerate(accelerators)
            if (value := getattr(a, name)) is not None
        ]

    yield _family("accelerator_busy_ratio", "gauge", "Load of the GPU.", each("utilisation_percent", 0.01))
    yield _family("accelerator_memory_used_bytes", "gauge", "Memory in use.", each("memory_used_bytes"))
    yield _family("accelerator_temperature_celsius", "gauge", "Of the GPU.", each("temperature_celsius"))


def _outbox_families(health: Health) -> Iterable[str]:
    waiting = {"fleet": health.outbox, **health.relays}
    known = {name: outbox for name, outbox in waiting.items() if outbox is not None}
    rows: list[Sample] = [({"broker": name}, float(outbox.rows)) for name, outbox in known.items()]
    size: list[Sample] = [({"broker": name}, float(outbox.bytes)) for name, outbox in known.items()]
    dropped = [
        ({"broker": name, "kind": kind}, float(count))
        for name, outbox in known.items()
        for kind, count in outbox.dropped.items()
    ]
    yield _family("outbox_rows", "gauge", "Messages that wait for a broker.", rows)
    yield _family("outbox_bytes", "gauge", "Bytes of them.", size)
    yield _family("outbox_dropped_total", "counter", "Messages that gave way.", dropped)


def _sink_families(cameras: Mapping[str, CameraHealth]) -> Iterable[str]:
    def each(name: str) -> list[Sample]:
        return [
            ({"camera": camera, "sink": sink}, float(getattr(figures, name)))
            for camera, c in cameras.items()
            for sink, figures in c.sinks.items()
        ]

    yield _family("sink_delivered_total", "counter", "What a sink has delivered.", each("delivered"))
    yield _family("sink_dropped_total", "counter", "What gave way because too much waited.", each("dropped"))
    yield _family("sink_dead_total", "counter", "What was refused, or tried too often.", each("dead"))
    yield _family("sink_waiting", "gauge", "What waits.", each("waiting"))
    yield _family("sink_failing", "gauge", "1 while it fails.", each("failing"))


def _camera_families(cameras: Mapping[str, CameraHealth]) -> Iterable[str]:
    def each(name: str) -> list[Sample]:
        return [({"camera": camera}, float(getattr(c, name) or 0)) for camera, c in cameras.items()]

    def by(label: str, name: str) -> list[Sample]:
        return [
            ({"camera": camera, label: key}, float(value))
            for camera, c in cameras.items()
            for key, value in getattr(c, name).items()
        ]

    blind = [
        ({"camera": camera, "cause": cause}, blind_s)
        for camera, c in cameras.items()
        for cause, blind_s in _blind_s(c).items()
    ]
    up = [({"camera": camera, "state": c.state}, 1.0) for camera, c in cameras.items()]
    faults = [
        ({"camera": camera, "reason": fault.reason}, 1.0)
        for camera, c in cameras.items()
        for fault in c.faults
    ]
    latency = [
        ({"camera": camera, "quantile": quantile}, value / 1000.0)
        for camera, c in cameras.items()
        for quantile, value in (("0.5", c.latency_p50_ms), ("0.95", c.latency_p95_ms))
        if value is not None
    ]
    lost = [
        ({"camera": camera}, float(c.packets_lost))
        for camera, c in cameras.items()
        if c.packets_lost is not None
    ]
    yield _family("camera_packets_lost", "gauge", "On the way, since the stream was opened.", lost)
    blind_now = [
        ({"camera": camera, "cause": c.blind_now.cause}, c.blind_now.for_s)
        for camera, c in cameras.items()
        if c.blind_now is not None
    ]
    yield _family("camera_blind_now_seconds", "gauge", "Since when it is blind, while it is.", blind_now)
    yield _family("camera_events_total", "counter", "Events made.", each("events"))
    yield _family("camera_events_dropped_total", "counter", "Events dropped.", each("events_dropped"))
    yield _family("camera_step_errors_total", "counter", "Of steps.", by("step", "step_errors"))
    yield _family("camera_state", "gauge", "1 for the state the camera is in.", up)
    yield _family("camera_fault", "gauge", "1 for each fault of the picture that is visible.", faults)
    yield _family("camera_blind_seconds_total", "counter", "Time in which it was not truly watched.", blind)
    yield _family("camera_blind_last_hour_seconds", "gauge", "Of the last hour.", by("cause", "blind_hour_s"))
    yield _family("camera_frames_total", "counter", "Frames of the source.", each("frames"))
    yield _family("camera_results_total", "counter", "Frames with a result.", each("results"))
    yield _family("camera_no_answer_total", "counter", "Frames without.", by("cause", "no_answer"))
    yield _family("camera_skipped_total", "counter", "Frames a policy skipped.", by("policy", "skipped"))
    yield _family("camera_fps", "gauge", "Results a second.", each("fps"))
    yield _family("camera_latency_seconds", "gauge", "From capture to result.", latency)
    yield _family("camera_restarts_total", "counter", "Of its process.", each("restarts"))
    yield _family("camera_rss_bytes", "gauge", "Memory of its process.", each("rss_bytes"))


def _model_families(models: Mapping[str, ModelHealth]) -> Iterable[str]:
    def each(name: str) -> list[Sample]:
        return [({"model": model}, float(getattr(m, name))) for model, m in models.items()]

    up = [({"model": model}, float(m.state == "ok")) for model, m in models.items()]
    yield _family("model_up", "gauge", "1 while the model serves.", up)
    latency = [
        ({"model": model, "quantile": quantile}, value / 1000.0)
        for model, m in models.items()
        for quantile, value in (("0.5", m.infer_p50_ms), ("0.95", m.infer_p95_ms))
        if value is not None
    ]
    yield _family("model_latency_seconds", "gauge", "Of an answer.", latency)
    yield _family("model_restarts_total", "counter", "Of its process.", each("restarts"))
    yield _family("model_requests_total", "counter", "Tensors asked about.", each("requests"))
    yield _family("model_errors_total", "counter", "Failures of the engine.", each("errors"))
    yield _family("model_rss_bytes", "gauge", "Memory of its process.", each("rss_bytes"))


def _blind_s(camera: CameraHealth) -> dict[str, float]:
    """Closed and open blind time: a counter that stands still while a camera is blind would hide it."""
    blind_s = dict(camera.blind_s)
    if camera.blind_now is not None:
        cause = camera.blind_now.cause
        blind_s[cause] = blind_s.get(cause, 0.0) + camera.blind_now.for_s
    return blind_s


def _told(labels: Labels, value: float | None) -> list[Sample]:
    return [] if value is None else [(labels, value)]


def _family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> str:
    lines = [f"outrider_{name}{_labels(labels)} {value:.10g}\n" for labels, value in samples]
    if not lines:
        return ""
    return f"# HELP outrider_{name} {words}\n# TYPE outrider_{name} {kind}\n" + "".join(lines)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
