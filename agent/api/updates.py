"""The local interface's part for updates: an application's lock, cancelling, the quarantine, the flight recorder.

No change is a simple request in the sense of the Fetch standard, so that a web page elsewhere cannot ask for one in a browser here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.errors import AgentError
from agent.stamp import finite
from agent.update.updater import Updater
from wire.reasons import Reason


class UpdateRoutes:
    """Answers about updates of one device."""

    def __init__(self, updater: Updater, recorded: Callable[[], list[dict[str, Any]]]) -> None:
        self._updater = updater
        self._recorded = recorded

    def routes(self) -> list[Route]:
        return [
            Route("/update", self._cancel, methods=["DELETE"]),
            Route("/update/lock", self._lock, methods=["GET"]),
            Route("/update/lock", self._take, methods=["PUT"]),
            Route("/update/lock", self._give_back, methods=["DELETE"]),
            Route("/update/quarantine", self._quarantined, methods=["GET"]),
            Route("/update/quarantine", self._clear, methods=["DELETE"]),
            Route("/recorder", self._recorder, methods=["GET"]),
        ]

    async def _lock(self, _request: Request) -> Response:
        lease = self._updater.lease
        return JSONResponse({"holder": lease.holder() or None, "left_s": round(lease.left_s(), 1)})

    async def _take(self, request: Request) -> Response:
        """`{"holder": "till", "seconds": 30}`; again before the time is over to keep it."""
        try:
            body = await request.json()
            holder, seconds = str(body["holder"]), float(body["seconds"])
        except (ValueError, KeyError, TypeError):
            return _refused(Reason.INVALID_FIELD, '{"holder": "NAME", "seconds": 30} is expected', 400)
        try:
            left_s = self._updater.lease.take(holder, seconds)
        except AgentError as e:
            return _refused(e.reason, str(e), 409 if e.reason is Reason.NAME_TAKEN else 400)
        return JSONResponse({"holder": holder, "left_s": left_s})

    async def _give_back(self, request: Request) -> Response:
        return JSONResponse({"held": self._updater.lease.give_back(request.query_params.get("holder", ""))})

    async def _cancel(self, request: Request) -> Response:
        asked = request.query_params.get("revision", "")
        if asked and not asked.isdigit():
            return _refused(Reason.INVALID_FIELD, "revision: a number is expected", 400)
        try:
            return JSONResponse({"revision": self._updater.cancel(int(asked) if asked else None)})
        except AgentError as e:
            return _refused(e.reason, str(e), 404 if e.reason is Reason.NOT_FOUND else 409)

    async def _quarantined(self, _request: Request) -> Response:
        return JSONResponse([asdict(entry) for entry in self._updater.quarantined()])

    async def _clear(self, request: Request) -> Response:
        try:
            cleared = self._updater.clear_quarantine(request.query_params.getlist("digest") or None)
        except OSError as e:
            return _refused(Reason.DISK_FULL, str(e), 507)
        return JSONResponse({"cleared": cleared})

    async def _recorder(self, _request: Request) -> Response:
        return JSONResponse(finite(self._recorded()))


def _refused(reason: Reason, detail: str, status: int) -> Response:
    return JSONResponse({"reason": reason.value, "detail": detail}, status_code=status)
