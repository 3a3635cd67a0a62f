"""One camera: its picture with what the models see, the time each step takes, its faults and sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.pages.device import steps as workflow
from fleet.console.parts import cells, live, numbers, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.layout import chip, empty, figure, page_head, section, set_chip
from fleet.console.parts.snapshot import ANSWER_S
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

REFRESH_S = 4.0
PICTURE_S = 2.0
LIVE_FOR_S = 120.0
"""Each picture is a command to the device and a line of the audit log: it stops by itself."""
WIDTHS_PX = {320: "320 px", 640: "640 px", 960: "960 px", 1280: "1280 px"}
STEPS = (
    Column("step", "Step"),
    Column("mean", "Mean", "number"),
    Column("most", "Most", "number"),
    Column("runs", "Frames", "number"),
    Column("errors", "Errors", "number"),
)
SINKS = (
    Column("sink", "Sink"),
    Column("state", "State", "tight"),
    Column("delivered", "Delivered", "number"),
    Column("waiting", "Waiting", "number"),
    Column("lost", "Dropped, expired, refused", "number"),
)


@register.page("/devices/{device}/cameras/{camera}", "Camera")
async def page(seat: Seat, device: str, camera: str) -> None:
    shown = await seat.api.get(f"/devices/{device}")
    health = _of(shown, camera)
    denied = seat.denied(Role.OPERATOR, shown["labels"])
    with tag("div", "crumbs"):
        text(device, name="a", href=seat.href(f"/devices/{device}"))
        text("/", "quiet", aria_hidden="true")
    with page_head(camera):
        state = chip(str(health.get("state", "unknown")))
        tag("div", "grow")
        button("Restart camera", lambda: _restart(seat, device, camera), "danger", denied)
    with tag("div", "figures"):
        figures = {
            name: figure(name, "none")
            for name in ("frames a second", "p50", "p95", "blind in the last hour", "restarts")
        }
    with section("Picture") as head:
        picture = _Picture(seat, device, camera, denied)
        with head:
            picture.controls()
        picture.place()
    graph = await workflow.place(seat, str(health.get("workflow") or ""))
    with tag("div", "columns"):
        with section("Time of each step", "of the workflow, lately"):
            steps = Rows("Steps", STEPS)
        with section("Sinks"):
            sinks = Rows("Sinks", SINKS)
            if not health.get("sinks"):
                empty("No sinks", "The workflow sends nothing elsewhere; its events reach this console.")

    def show(now: Any) -> None:
        figures_now = _of(now, camera)
        set_chip(state, str(figures_now.get("state", "unknown")))
        blind = figures_now.get("blind_hour_s") or {}
        figures["frames a second"].text = numbers.number(figures_now.get("fps"))
        figures["p50"].text = numbers.number(figures_now.get("latency_p50_ms"), "ms")
        figures["p95"].text = numbers.number(figures_now.get("latency_p95_ms"), "ms")
        figures["blind in the last hour"].text = numbers.span(sum(blind.values()))
        figures["restarts"].text = str(figures_now.get("restarts", 0))
        if graph is not None:
            graph.show(figures_now.get("steps") or {})
        steps.show([_step(name, step) for name, step in (figures_now.get("steps") or {}).items()])
        sinks.show([_sink(name, sink) for name, sink in (figures_now.get("sinks") or {}).items()])

    async def refresh() -> None:
        show(await seat.api.get(f"/devices/{device}"))

    show(shown)
    live.every(REFRESH_S, refresh)


def _of(device: Any, camera: str) -> Mapping[str, Any]:
    known = (device["health"] or {}).get("cameras") or {}
    if camera not in known:
        wanted = ((device["reported"] or {}).get("cameras") or {}).get(camera)
        if wanted is None:
            raise ApiProblem(
                404,
                "No such camera",
                f"{device['id']} tells of no camera {camera}.",
                remedy="Its cameras are on the device's page.",
            )
        return {"state": wanted.get("state", "unknown")}
    return dict(known[camera])


async def _restart(seat: Seat, device: str, camera: str) -> None:
    detail = f"{camera} sees nothing for some seconds."
    if await confirmed(f"Restart {camera}?", detail, "Restart camera"):
        await send(seat, device, "restart-camera", {"camera": camera})
        problem.done(f"{camera} is being restarted")


async def send(
    seat: Seat, device: str, name: str, arguments: dict[str, Any], timeout_s: float = ANSWER_S
) -> Any:
    """A command; what the device answers.

    :raises ApiProblem: it did not answer, or refused
    """
    body = {"arguments": arguments, "timeout_s": timeout_s}
    answer = await seat.api.change("POST", f"/devices/{device}/commands/{name}", body)
    if not answer["ok"]:
        said = str(answer.get("message") or answer.get("reason") or "no reason given")
        raise ApiProblem(409, "The device refused", said, str(answer.get("reason") or ""))
    return answer.get("result") or {}


class _Picture:
    """A picture on request, or one after the other for a while."""

    def __init__(self, seat: Seat, device: str, camera: str, denied: str) -> None:
        self._seat, self._device, self._camera, self._denied = seat, device, camera, denied
        self._left_s = 0.0

    def controls(self) -> None:
        tag("div", "grow")
        self._marked = ui.checkbox("With results", value=True)
        self._width = ui.select(WIDTHS_PX, value=640, label="Width").style("width: 7.5rem")
        button("Take a picture", self._once, "", self._denied)
        self._live = button("Live", self._turn, "primary", self._denied)

    def place(self) -> None:
        with tag("div", "section-body"):
            self._image = tag("img", "picture", alt=f"Picture of {self._camera}")
            self._image.set_visibility(False)
            self._note = text(
                "No picture leaves a device unless somebody asks and its policy allows it; each request is in the audit log.",
                "quiet",
                "p",
            )
        self._timer = live.Every(PICTURE_S, self._next, on=False)

    async def _once(self) -> None:
        arguments = {
            "camera": self._camera,
            "annotated": bool(self._marked.value),
            "max_width_px": int(self._width.value or 640),
        }
        try:
            result = await send(self._seat, self._device, "snapshot", arguments)
        except ApiProblem as e:
            self._stop()
            self._note.text = f"No picture: {e}"
            raise
        self._image.set(src=f"data:image/jpeg;base64,{result['jpeg']}")
        self._image.set_visibility(True)
        self._note.text = f"{len(result['jpeg']) * 3 // 4 // 1024} KiB"

    async def _turn(self) -> None:
        if self._left_s > 0:
            self._stop()
            return
        await self._once()
        self._left_s = LIVE_FOR_S
        self._live.text = "Stop"
        self._timer.on = True

    async def _next(self) -> None:
        if self._left_s <= 0:
            self._stop()
            return
        self._left_s -= PICTURE_S
        await problem.attempt(self._once)

    def _stop(self) -> None:
        self._left_s = 0.0
        self._live.text = "Live"
        self._timer.on = False


def _step(name: str, step: Mapping[str, Any]) -> Row:
    return Row(
        name,
        {
            "step": cells.words(name),
            "mean": cells.words(f"{step.get('mean_us', 0) / 1000:.2f} ms"),
            "most": cells.words(f"{step.get('max_us', 0) / 1000:.2f} ms"),
            "runs": cells.words(f"{step.get('runs', 0):,}"),
            "errors": cells.words(step.get("errors", 0)),
        },
    )


def _sink(name: str, sink: Mapping[str, Any]) -> Row:
    lost = sum(sink.get(kind, 0) for kind in ("dropped", "expired", "dead"))
    return Row(
        name,
        {
            "sink": cells.words(name, sink.get("error") or ""),
            "state": cells.chip("failing", "bad") if sink.get("failing") else cells.chip("ok"),
            "delivered": cells.words(f"{sink.get('delivered', 0):,}"),
            "waiting": cells.words(sink.get("waiting", 0)),
            "lost": cells.words(lost),
        },
    )
