"""One device at a glance: its update, faults, cameras, models, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.console import register
from fleet.console.pages.device.frame import Head
from fleet.console.pages.device.progress import Progress
from fleet.console.parts import cells, faults, live, numbers
from fleet.console.parts.layout import empty, fact, facts, figure, section
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.seat import Seat

REFRESH_S = 4.0
CAMERAS = (
    Column("camera", "Camera"),
    Column("state", "State", "tight"),
    Column("fps", "Frames/s", "number"),
    Column("latency", "p95", "number"),
    Column("blind", "Blind in the last hour"),
    Column("models", "Models"),
)
MODELS = (
    Column("model", "Model"),
    Column("state", "State", "tight"),
    Column("engine", "Engine"),
    Column("time", "p50", "number"),
    Column("requests", "Requests", "number"),
)


@register.page("/devices/{device}", "Device")
async def overview(seat: Seat, device: str) -> None:
    shown = await seat.api.get(f"/devices/{device}")
    head = Head(seat, shown, "")
    figures = _Figures()
    progress = Progress(seat, device)
    with section("Faults"):
        trouble = faults.Faults(seat, device)
    with section("Cameras"):
        cameras = Rows("Cameras", CAMERAS)
        no_camera = tag("div")
        with no_camera:
            empty(
                "No camera at work",
                "Give the device a desired state with cameras, or wait for its first health message.",
            )
    with tag("div", "columns"):
        with section("Models"):
            models = Rows("Models", MODELS)
        with section("Machine"), tag("div", "section-body"):
            _machine(shown)

    def show(now: Any) -> None:
        health = now["health"] or {}
        head.show(now)
        figures.show(health)
        progress.show(now)
        rows = [
            _camera(device, name, camera) for name, camera in sorted((health.get("cameras") or {}).items())
        ]
        cameras.show(rows)
        cameras.set_visibility(bool(rows))
        no_camera.set_visibility(not rows)
        models.show([_model(name, model) for name, model in sorted((health.get("models") or {}).items())])

    async def refresh() -> None:
        show(await seat.api.get(f"/devices/{device}"))
        await trouble.refresh()

    show(shown)
    await trouble.refresh()
    live.every(REFRESH_S, refresh)


class _Figures:
    """The numbers that are read first."""

    def __init__(self) -> None:
        self._shown: dict[str, Tag] = {}
        with tag("div", "figures"):
            for name in (
                "cameras streaming",
                "frames a second",
                "processor",
                "memory",
                "temperature",
                "disk free",
            ):
                self._shown[name] = figure(name, "none")

    def show(self, health: Mapping[str, Any]) -> None:
        cameras = list((health.get("cameras") or {}).values())
        host = health.get("host") or {}
        well = sum(camera.get("state") == "streaming" for camera in cameras)
        total = host.get("memory_total_bytes") or 0
        used = total - (host.get("memory_available_bytes") or 0)
        said = {
            "cameras streaming": f"{well} of {len(cameras)}",
            "frames a second": numbers.number(sum(camera.get("fps") or 0.0 for camera in cameras)),
            "processor": numbers.number(host.get("cpu_percent"), "%", 0),
            "memory": numbers.share(used, total),
            "temperature": numbers.number(host.get("temperature_celsius"), "°C", 0),
            "disk free": numbers.size(host.get("disk_free_bytes")),
        }
        for name, value in said.items():
            self._shown[name].text = value


def _camera(device: str, name: str, camera: Mapping[str, Any]) -> Row:
    blind = camera.get("blind_hour_s") or {}
    now = camera.get("blind_now")
    wrong = "; ".join(f"{f.get('reason')} {f.get('message', '')}".strip() for f in camera.get("faults") or ())
    state = str(camera.get("state", "unknown"))
    tone = "warn" if wrong and state == "streaming" else None
    return Row(
        name,
        {
            "camera": cells.link(name, f"/devices/{device}/cameras/{name}", camera.get("decoder") or ""),
            "state": cells.chip(state, tone, wrong or (now or {}).get("cause", "")),
            "fps": cells.words(numbers.number(camera.get("fps"))),
            "latency": cells.words(numbers.number(camera.get("latency_p95_ms"), "ms")),
            "blind": cells.words(numbers.by_cause(blind) or "none", wrong),
            "models": cells.words(", ".join(sorted(camera.get("models") or {})) or "none"),
        },
    )


def _model(name: str, model: Mapping[str, Any]) -> Row:
    return Row(
        name,
        {
            "model": cells.words(name, str(model.get("digest", ""))[7:19]),
            "state": cells.chip(str(model.get("state", "unknown"))),
            "engine": cells.words(model.get("engine"), numbers.size(model.get("rss_bytes"))),
            "time": cells.words(numbers.number(model.get("infer_p50_ms"), "ms")),
            "requests": cells.words(
                f"{model.get('requests', 0):,}", f"{model['errors']} errors" if model.get("errors") else ""
            ),
        },
    )


def _machine(device: Mapping[str, Any]) -> None:
    inventory = (device["reported"] or {}).get("inventory") or {}
    gpus = ", ".join(gpu["name"] for gpu in inventory.get("gpus") or ())
    said = {
        "Board": inventory.get("board"),
        "Processor": f"{inventory.get('processor', '')}, {inventory.get('processors', 0)} processors"
        if inventory.get("processor")
        else "",
        "Memory": numbers.size(inventory["memory_bytes"]) if inventory.get("memory_bytes") else "",
        "GPU": gpus,
        "System": inventory.get("system"),
        "JetPack": inventory.get("jetpack"),
        "Kernel": inventory.get("kernel"),
        "Host name": inventory.get("hostname"),
        "Agent": device["agent_version"],
    }
    with facts():
        for name, value in said.items():
            if value:
                with fact(name):
                    text(value)
        if not any(said.values()):
            text("The device has not told yet what it is made of.", "quiet")
