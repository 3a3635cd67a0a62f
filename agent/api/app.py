"""The routes of the local HTTP interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from agent.api import metrics
from agent.api.access import Access
from agent.api.page import PAGE
from agent.api.updates import UpdateRoutes
from agent.clips import Clip
from agent.clock import Clock
from agent.device import Device
from agent.errors import AgentError, Degraded
from agent.filming import DEFAULT_S, Filming, seconds_of
from agent.health.report import camera_health
from agent.stamp import finite
from wire.health import Health
from wire.reasons import Reason
from wire.reported import Reported

log = logging.getLogger(__name__)

STREAM_FPS = 5.0
MAX_STREAMS = 8
MAX_WIDTH_PX = 1280
BOUNDARY = "frame"


class Api:
    """Answers about one device. `alive` says whether the supervisor ticks."""

    def __init__(
        self,
        device: Device,
        clock: Clock,
        reported: Callable[[], Reported],
        health: Callable[[], Health],
        alive: Callable[[], bool],
        about: dict[str, Any],
        connected: Callable[[], bool],
        token: str,
        filming: Filming,
        updates: UpdateRoutes,
    ) -> None:
        self._device = device
        self._clock = clock
        self._reported = reported
        self._health = health
        self._alive = alive
        self._about = about
        self._connected = connected
        self._token = token
        self._filming = filming
        self._updates = updates
        self._streams = 0
        self._locks: dict[str, asyncio.Lock] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/healthz", self._healthz),
                Route("/status", self._status),
                Route("/metrics", self._metrics),
                Route("/cameras", self._cameras),
                Route("/cameras/{name}/snapshot.jpg", self._snapshot),
                Route("/cameras/{name}/stream", self._stream),
                Route("/cameras/{name}/clip", self._clip),
                Route("/clips", self._clips),
                Route("/clips/{id}", self._kept_clip),
                *self._updates.routes(),
            ],
            middleware=[Middleware(Access, token=self._token)],
        )

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Cache-Control": "no-store"})

    async def _healthz(self, _request: Request) -> Response:
        alive = self._alive()
        return JSONResponse({"ok": alive}, status_code=200 if alive else 503)

    async def _status(self, _request: Request) -> Response:
        reported = self._reported().to_json()
        return JSONResponse(
            finite(
                {
                    **self._about,
                    "connected": self._connected(),
                    "phase": reported["phase"],
                    "reported": reported,
                    "health": self._health().to_json(),
                }
            )
        )

    async def _metrics(self, _request: Request) -> Response:
        page = metrics.text(self._health(), connected=self._connected())
        return PlainTextResponse(page, media_type=metrics.CONTENT_TYPE)

    async def _cameras(self, _request: Request) -> Response:
        at_mono = self._clock.mono()
        cameras = {}
        for unit in self._device.pipelines.values():
            figures = camera_health(unit, at_mono).to_json()
            figures["summary"] = unit.stats.summary if unit.stats else {}
            figures["width"], figures["height"] = unit.camera.width, unit.camera.height
            cameras[unit.spec.camera.name] = figures
        return JSONResponse(finite(cameras))

    async def _snapshot(self, request: Request) -> Response:
        name = request.path_params["name"]
        log.info(
            "snapshot asked for", extra={"camera": name, "by": request.client.host if request.client else ""}
        )
        try:
            picture = await self._picture(name)
        except Degraded as e:
            return _problem(e)
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def _stream(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._device.pipeline_of(name) is None:
            return JSONResponse({"detail": f"no camera is called {name!r}"}, status_code=404)
        if self._streams >= MAX_STREAMS:
            return JSONResponse({"detail": f"{MAX_STREAMS} streams are watched already"}, status_code=503)
        log.info(
            "stream asked for", extra={"camera": name, "by": request.client.host if request.client else ""}
        )
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(self._pictures(name), media_type=kind, headers={"Cache-Control": "no-store"})

    async def _pictures(self, name: str) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            while True:
                began_mono = self._clock.mono()
                try:
                    picture = await self._picture(name)
                except Degraded as e:
                    if e.reason is Reason.PICTURE_WITHHELD:
                        return
                    await asyncio.sleep(1.0)
                    if self._device.pipeline_of(name) is None:
                        return
                    continue
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                yield head.encode() + picture + b"\r\n"
                await asyncio.sleep(max(0.0, 1.0 / STREAM_FPS - (self._clock.mono() - began_mono)))
        finally:
            self._streams -= 1

    async def _clip(self, request: Request) -> Response:
        """The last `seconds` of a camera as a film, which is kept on the device as well."""
        name = request.path_params["name"]
        log.info(
            "clip asked for", extra={"camera": name, "by": request.client.host if request.client else ""}
        )
        try:
            seconds = seconds_of(request.query_params.get("seconds", DEFAULT_S))
            return self._film(await self._filming.take(name, seconds))
        except AgentError as e:
            return _problem(e)

    async def _clips(self, _request: Request) -> Response:
        return JSONResponse({"clips": [asdict(clip) for clip in self._filming.store.all()]})

    async def _kept_clip(self, request: Request) -> Response:
        try:
            return self._film(self._filming.store.find(request.path_params["id"]))
        except AgentError as e:
            return _problem(e)

    def _film(self, clip: Clip) -> Response:
        path = self._filming.store.path(clip)
        return FileResponse(
            path, media_type=clip.media_type, headers={"Cache-Control": "no-store", "X-Clip": clip.id}
        )

    async def _picture(self, name: str) -> bytes:
        """One request at a time for a camera, however many watch.

        :raises Degraded: there is no picture
        """
        unit = self._device.pipeline_of(name)
        if unit is None:
            raise Degraded(Reason.NOT_FOUND, f"no camera is called {name!r}")
        async with self._locks.setdefault(name, asyncio.Lock()):
            return (await unit.snapshot(annotated=True, max_width_px=MAX_WIDTH_PX)).jpeg


def _problem(error: AgentError) -> Response:
    status = {
        Reason.NOT_FOUND: 404,
        Reason.CLIP_EMPTY: 404,
        Reason.PICTURE_WITHHELD: 403,
        Reason.INVALID_FIELD: 400,
    }.get(error.reason, 503)
    return JSONResponse({"reason": error.reason.value, "detail": str(error)}, status_code=status)
