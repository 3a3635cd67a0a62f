"""A device as the console sees it: its protocol side over real MQTT, with a camera that streams, one that is lost, and answers to commands."""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from tests.integration.fleet_stand import DEADLINE_S, Device, Stand
from wire import command, envelope

MODEL, WORKFLOW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GIB, MIB = 2**30, 2**20
LINES = [
    '{"at": "2026-01-05T08:12:01Z", "level": "INFO", "message": "connected", "host": "10.0.0.2"}',
    '{"at": "2026-01-05T08:14:22Z", "level": "WARNING", "message": "camera lost", "camera": "yard"}',
    '{"at": "2026-01-05T08:14:52Z", "level": "ERROR", "message": "camera does not come back", "camera": "yard"}',
]
Answer = dict[str, Any]


def picture() -> str:
    """A JPEG with something in a box, base64."""
    image = Image.new("RGB", (640, 360), (58, 68, 78))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 250, 640, 360), fill=(92, 98, 104))
    draw.polygon([(260, 250), (380, 250), (560, 360), (80, 360)], fill=(120, 124, 128))
    for x, y in ((140, 130), (390, 150)):
        draw.ellipse((x + 22, y, x + 48, y + 28), fill=(196, 160, 132))
        draw.rounded_rectangle((x + 10, y + 28, x + 60, y + 110), 10, fill=(70, 110, 150))
        draw.rectangle((x, y - 8, x + 72, y + 140), outline=(63, 184, 171), width=3)
    out = BytesIO()
    image.save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode()


class SimulatedDevice(Device):
    """Answers `snapshot`, `log-tail` and every other command; what it was asked is in `asked`."""

    def __init__(self, stand: Stand, name: str, labels: Mapping[str, str] | None = None) -> None:
        super().__init__(stand.enrol(name, dict(labels or {})))
        self.name = name
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "snapshot": lambda _: {"ok": True, "result": {"jpeg": picture(), "max_width_px": 640}},
            "log-tail": lambda asked: {"ok": True, "result": {"lines": LINES[-int(asked["lines"]) :]}},
        }
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"answers of {name}")

    def __enter__(self) -> SimulatedDevice:
        super().__enter__()
        self.granted.get(timeout=DEADLINE_S)
        self._thread.start()
        self.publish(
            self.topics.conn, {"state": "online", "agent_version": "1.0.0", "boot": "b"}, retain=True
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(10)
        super().__exit__(*error)

    def report(self, phase: str = "COMMITTED", reason: str = "", message: str = "", **more: Any) -> None:
        self.publish(self.topics.reported, reported(phase, reason, message) | more)

    def tell(self, fps: float = 12.4, celsius: float = 54.0, lost: bool = True) -> None:
        self.publish(self.topics.health, health(fps, celsius, lost))

    def _on_connect(self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        """The broker keeps no subscription of a device that was cut off."""
        super()._on_connect(client, userdata, flags, code, properties)
        client.subscribe(self.topics.commands, 1)

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                topic, payload, _ = self.received.get(timeout=0.1)
            except queue.Empty:
                continue
            if "/cmd/" not in topic:
                continue
            data = envelope.decode(payload).data
            asked = command.open_signed(data, self.state_keys, device=self.name, at_wall=time.time())
            self.asked.append((asked.name, asked.arguments))
            answer = self.answers.get(asked.name, lambda _: {"ok": True, "result": {}})(asked.arguments)
            response = command.Response(rid=asked.rid, name=asked.name, **answer)
            self.publish(self.topics.response(asked.rid), response.to_json())


def health(fps: float, celsius: float, lost: bool) -> dict[str, Any]:
    steps = {
        "model": {"runs": 36_120, "errors": 0, "mean_us": 28_100.0, "max_us": 44_000.0},
        "people_in_zone": {"runs": 36_120, "errors": 0, "mean_us": 310.0, "max_us": 1_900.0},
        "count": {"runs": 36_120, "errors": 0, "mean_us": 88.0, "max_us": 300.0},
    }
    door = {
        "state": "streaming", "pipeline": "door", "fps": fps, "frames": 36_120, "results": 36_120,
        "latency_p50_ms": 31.2, "latency_p95_ms": 48.7, "blind_hour_s": {"camera-timeout": 12.0},
        "decoder": "h264", "models": {"people": MODEL}, "workflow": WORKFLOW, "steps": steps,
        "sinks": {"shop floor": {"accepted": 812, "delivered": 811, "waiting": 1}}, "restarts": 1,
    }  # fmt: skip
    yard = {
        "state": "lost", "pipeline": "yard", "fps": 0.0, "models": {"people": MODEL},
        "blind_now": {"cause": "camera-unreachable", "for_s": 200.0},
        "blind_hour_s": {"camera-unreachable": 200.0},
    }  # fmt: skip
    return {
        "revision": 3,
        "agent_uptime_s": 5000.0,
        "host": {
            "uptime_s": 86_400.0, "cpu_percent": 37.0, "cpu_count": 6, "load_1m": 2.1,
            "memory_total_bytes": 8 * GIB, "memory_available_bytes": 5 * GIB,
            "disk_total_bytes": 64 * GIB, "disk_free_bytes": 41 * GIB, "temperature_celsius": celsius,
            "agent_rss_bytes": 70 * MIB,
        },
        "cameras": {"door": door, "yard": yard if lost else {**door, "pipeline": "yard"}},
        "models": {
            "people": {
                "digest": MODEL, "state": "serving", "engine": "onnxruntime CPU", "requests": 36_120,
                "infer_p50_ms": 27.8, "rss_bytes": 310 * MIB,
            }
        },
    }  # fmt: skip


def reported(phase: str, reason: str, message: str) -> dict[str, Any]:
    done = phase == "COMMITTED"
    return {
        "revision": 4 if done else 3,
        "offered": 4,
        "phase": phase,
        "reason": reason or None,
        "message": message or None,
        "progress": None if done else 0.4,
        "agent_version": "1.0.0",
        "cameras": {
            "door": {"state": "ok"},
            "yard": {"state": "failed", "reason": "camera-unreachable", "message": "no answer from 10.0.0.8"},
        },
        "models": {"people": {"state": "ok", "digest": MODEL}},
        "workflows": {"count": {"state": "ok", "digest": WORKFLOW}},
        "pipelines": {"door": {"state": "ok"}},
        "inventory": {
            "hostname": "gate", "board": "NVIDIA Jetson Orin Nano", "processor": "Cortex-A78AE",
            "processors": 6, "memory_bytes": 8 * GIB, "system": "Ubuntu 22.04", "kernel": "5.15.148-tegra",
            "jetpack": "6.2", "gpus": [{"name": "Orin, 1024 cores"}],
        },
    }  # fmt: skip
