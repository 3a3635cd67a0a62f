"""Commands: signed requests of the control plane, each answered once, also where it is unknown, expired or fails."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from agent.errors import AgentError, Refused
from wire import command
from wire.errors import WireError
from wire.problem import nearest
from wire.reasons import Reason

log = logging.getLogger(__name__)

REMEMBERED = 512
"""Request ids whose repeat (QoS 1 delivers at least once) is not carried out again."""

Handler = Callable[[dict[str, Any]], dict[str, Any]]
"""Carries out a command: arguments → result; raises AgentError."""


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
        self._answer(self._carry_out(request))

    def _carry_out(self, request: command.Command) -> command.Response:
        log.info("command", extra={"command": request.name, "rid": request.rid})
        handler = self._handlers.get(request.name)
        try:
            if handler is None:
                hint = nearest(request.name, self._handlers)
                known = ", ".join(sorted(self._handlers))
                raise Refused(
                    Reason.UNKNOWN_COMMAND,
                    f"no command is called {request.name!r}; known: {known} {hint}".strip(),
                )
            result = handler(request.arguments)
        except AgentError as e:
            return command.Response(
                rid=request.rid, name=request.name, ok=False, reason=e.reason.value, message=str(e)
            )
        except Exception as e:  # the boundary: a command must not end the agent
            log.exception("command failed", extra={"command": request.name})
            return command.Response(
                rid=request.rid,
                name=request.name,
                ok=False,
                reason=Reason.INTERNAL.value,
                message=f"{type(e).__name__}: {e}",
            )
        return command.Response(rid=request.rid, name=request.name, ok=True, result=result)
