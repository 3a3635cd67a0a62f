"""A picture of a camera, taken now: chosen by device and camera, with the size of the camera's own frame."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from fleet.console.calls import ApiProblem
from fleet.console.parts.buttons import button
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Role, Seat

WIDTH_PX = 1280
SHOWN_DEVICES = 500
ANSWER_S = 30.0
"""A picture over a slow line takes its time."""


@dataclass(frozen=True)
class Snapshot:
    """`url` is a data URL; `frame_wh` the camera's own frame in pixels."""

    device: str
    camera: str
    url: str
    frame_wh: tuple[int, int]


async def take(seat: Seat, device: str, camera: str, annotated: bool = False) -> Snapshot:
    """Ask the device.

    :raises ApiProblem: it does not answer, or may not let a picture go
    """
    arguments = {"camera": camera, "annotated": annotated, "max_width_px": WIDTH_PX}
    body = {"arguments": arguments, "timeout_s": ANSWER_S}
    answer = await seat.api.change("POST", f"/devices/{device}/commands/snapshot", body)
    if not answer["ok"]:
        raise ApiProblem(
            422,
            "No picture",
            str(answer.get("message") or answer.get("reason") or ""),
            str(answer.get("reason") or ""),
        )
    jpeg = base64.b64decode(answer["result"]["jpeg"])
    told = answer["result"].get("frame_wh") or (0, 0)
    frame_wh = (int(told[0]), int(told[1])) if all(told) else size_of(jpeg)
    return Snapshot(device, camera, f"data:image/jpeg;base64,{answer['result']['jpeg']}", frame_wh)


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height by the start-of-frame marker (ITU-T T.81, B.2.2); agents before 0.2 do not tell the frame's own size."""
    at = 2
    while at + 9 < len(jpeg):
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    return 1280, 720


class Chooser:
    """Device, camera and a button; `taken` is called with the picture."""

    def __init__(self, seat: Seat, taken: Callable[[Snapshot], Any]) -> None:
        self._seat, self._taken = seat, taken
        with tag("div", "filters chooser"):
            self._device = ui.select([], label="Device", with_input=True)
            self._camera = ui.select([], label="Camera")
            button("Take a snapshot", self._press, "", seat.denied_somewhere(Role.OPERATOR))
        self._note = text("", "quiet section-body")
        self._device.on_value_change(self._cameras)

    async def load(self, first: Sequence[str] = ()) -> None:
        """The devices there are; those that matter most first."""
        rows = (await self._seat.api.get("/devices", limit=SHOWN_DEVICES))["items"]
        online = {row["id"]: row["presence"] == "online" for row in rows}
        names = [name for name in first if name in online]
        names += sorted((n for n in online if n not in names), key=lambda n: (not online[n], n))
        self._device.set_options(
            {n: n if online[n] else f"{n} (offline)" for n in names}, value=names[0] if names else None
        )
        if not names:
            self._note.text = "No device is enrolled yet; draw on no picture, or enter points as numbers."

    async def _cameras(self) -> None:
        if not self._device.value:
            return
        device = await self._seat.api.get(f"/devices/{self._device.value}")
        cameras = list((device["health"] or {}).get("cameras") or {})
        self._camera.set_options(cameras, value=cameras[0] if cameras else None)

    async def _press(self) -> None:
        if not self._device.value or not self._camera.value:
            raise ApiProblem(422, "No camera", "Choose a device and a camera that it runs.")
        self._note.text = ""
        snapshot = await take(self._seat, self._device.value, self._camera.value)
        width, height = snapshot.frame_wh
        self._note.text = f"{snapshot.device}, {snapshot.camera}: {width} by {height} pixels"
        self._taken(snapshot)
