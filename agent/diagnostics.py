"""A bundle for whoever has to find out what is wrong: text files without secrets, packed, sent over HTTPS, never over MQTT."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from agent import evidence, logs
from agent.clock import Clock
from agent.config import Config
from agent.download import bearer
from agent.errors import Refused, Transient
from agent.identity import Identity
from wire.reasons import Reason

log = logging.getLogger(__name__)

LINES = 2000
TAIL_BYTES = 180_000
UPLOAD_S = 120.0

Part = Callable[[], Any]
"""Gives a document of the bundle, at once or later."""


class Diagnostics:
    """`handlers` are the commands `log-tail` and `diagnostics`. `parts` are the documents, by name."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        config: Config,
        identity: Identity,
        clock: Clock,
        parts: Mapping[str, Part],
        secrets: Callable[[], list[str]],
    ) -> None:
        """`secrets` are texts that must not leave this device whatever they stand in."""
        self._client = client
        self._config = config
        self._identity = identity
        self._clock = clock
        self._parts = parts
        self._secrets = secrets

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]]:
        return {"log-tail": self._tail, "diagnostics": self._send}

    def _tail(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """:raises Refused: `lines` is no number from 1 to 2,000"""
        wanted = arguments.get("lines", 200)
        if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= LINES:
            raise Refused(Reason.INVALID_FIELD, f"lines {wanted!r} cannot be used; expected 1 to {LINES}")
        secrets = self._secrets()
        lines = [evidence.cleaned(line, secrets) for line in logs.recent(wanted)]
        while lines and sum(len(line.encode()) + 1 for line in lines) > TAIL_BYTES:
            del lines[0]
        return {"lines": lines}

    async def _send(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """:raises Refused: no `id` to send it under
        :raises Transient: the control plane does not take it
        """
        name = arguments.get("id")
        if not isinstance(name, str) or not name.isalnum():
            raise Refused(
                Reason.INVALID_FIELD, "diagnostics needs an id; ask by `outrider fleet device diagnostics`"
            )
        content = await self.bundle()
        url = f"{self._identity.url}/api/v1/device/diagnostics/{name}"
        headers = {**bearer(self._identity.api_token), "Content-Type": "application/gzip"}
        try:
            answer = await self._client.put(url, content=content, headers=headers, timeout=UPLOAD_S)
        except httpx.HTTPError as e:
            raise Transient(
                Reason.ARTIFACT_UNREACHABLE, f"the bundle cannot be sent: {e or type(e).__name__}"
            ) from e
        if not answer.is_success:
            raise Transient(
                Reason.ARTIFACT_UNREACHABLE,
                f"the control plane answers {answer.status_code} to the bundle: {answer.text[:200]}",
            )
        return {"id": name, "bytes": len(content)}

    async def bundle(self) -> bytes:
        """A `.tar.gz`."""
        parts: dict[str, Any] = {
            "log.txt": "\n".join(logs.recent(LINES)),
            **await asyncio.to_thread(evidence.on_disk, self._config.state_dir),
        }
        documents: dict[str, Part] = {
            "agent.json": lambda: dataclasses.asdict(self._config),
            "identity.json": self._about,
            **self._parts,
        }
        for name, part in documents.items():
            try:
                made = part()
                parts[name] = await made if isinstance(made, Awaitable) else made
            except Exception as e:  # the boundary: what is broken is what the bundle is for
                parts[f"{name}.failed"] = f"{type(e).__name__}: {e}"
        return await asyncio.to_thread(evidence.packed, parts, self._secrets(), self._clock.wall())

    def _about(self) -> dict[str, Any]:
        who = self._identity
        return {"url": who.url, "fleet": who.fleet, "device": who.device, "broker": who.broker.to_json()}
