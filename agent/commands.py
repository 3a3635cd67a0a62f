"""Commands: signed requests of the control plane, each answered once, also where it is unknown, expired or fails."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent.errors import AgentError, Refused
from wire import command
from wire.errors import WireError
from wire.problem import nearest
from wire.reasons import Reason

log = logging.getLogger(__name__)

REMEMBERED = 512
"""Request ids whose repeat (QoS 1 delivers at least once) is not carried out again."""

Handler = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]
"""Carries out a command: arguments → result, at once or later; raises AgentError."""


class Commands:
    """`open_signed` verifies; `answer` sends a response."""

    def __init__(
        self,
        open_signed: Callable[[object], command.Command],
        handlers: Mapping[str, Handler],
        answer: Callable[[command.Response], None],
    ) -> None:
        self._open = open_signed
        self._handlers = dict(handlers)
        self._answer = answer
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Break off what is under way; it is not answered."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def received(self, name: str, document: object, rid: str | None) -> None:
        """A message on the command topic `name`; `rid` is the envelope's, for the answer to what cannot be opened."""
        try:
            request = self._open(document)
        except WireError as e:
            log.warning("command is refused", extra={"command": name, "cause": str(e)})
            if rid:
                self._answer(
                    command.Response(rid=rid, name=name, ok=False, reason=e.reason.value, message=str(e))
                )
            return
        if request.rid in self._seen:
            return
        self._seen[request.rid] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._carry_out(request)

    def _carry_out(self, request: command.Command) -> None:
        log.info("command", extra={"command": request.name, "rid": request.rid})
        try:
            result = self._handler(request.name)(request.arguments)
        except Exception as e:  # the boundary: a command must not end the agent
            self._answer(_failed(request, e))
            return
        if isinstance(result, dict):
            self._answer(_done(request, result))
            return
        task = asyncio.ensure_future(self._finish(request, result))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _finish(self, request: command.Command, work: Awaitable[dict[str, Any]]) -> None:
        try:
            self._answer(_done(request, await work))
        except Exception as e:  # the boundary: a command must not end the agent
            self._answer(_failed(request, e))

    def _handler(self, name: str) -> Handler:
        handler = self._handlers.get(name)
        if handler is None:
            hint = nearest(name, self._handlers)
            known = ", ".join(sorted(self._handlers))
            raise Refused(
                Reason.UNKNOWN_COMMAND, f"no command is called {name!r}; known: {known} {hint}".strip()
            )
        return handler


def _done(request: command.Command, result: dict[str, Any]) -> command.Response:
    return command.Response(rid=request.rid, name=request.name, ok=True, result=result)


def _failed(request: command.Command, error: Exception) -> command.Response:
    if isinstance(error, AgentError):
        reason, message = error.reason, str(error)
    else:
        log.error("command failed", extra={"command": request.name}, exc_info=error)
        reason, message = Reason.INTERNAL, f"{type(error).__name__}: {error}"
    return command.Response(
        rid=request.rid, name=request.name, ok=False, reason=reason.value, message=message
    )
