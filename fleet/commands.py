"""Commands to devices: signed, published with an expiry, the response awaited with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select

from fleet import audit
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NoResponse, NotFound
from fleet.signing import Signer
from fleet.tables import Device, ResponseRow
from wire.command import Command, Response
from wire.envelope import Envelope
from wire.names import DeviceId, FleetId
from wire.reasons import Reason
from wire.topics import DeviceTopics

Publish = Callable[[str, bytes, float], Awaitable[None]]
"""Publishes not retained, with an expiry in seconds; raises Transient where the broker is away."""


class Commands:
    """Sends commands and waits for their answers."""

    def __init__(
        self, fleet: FleetId, database: Database, signer: Signer, clock: Clock, ids: Ids, publish: Publish
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._signer = signer
        self._clock = clock
        self._ids = ids
        self._publish = publish
        self._boot = ids.unique()
        self._seq = 0
        self._waiting: dict[str, asyncio.Future[Response]] = {}

    async def send(
        self, device: str, name: str, arguments: dict[str, Any], timeout_s: float, actor: str
    ) -> Response:
        """Send and wait.

        :raises NotFound: no such device
        :raises Transient: the broker does not take it
        :raises NoResponse: no answer within `timeout_s`; the command is then void on the device too
        """
        at = self._clock.wall()
        rid = self._ids.unique()
        request = Command(
            device=device,
            name=name,
            rid=rid,
            issued_at=at,
            expires_at=at + timeout_s,
            arguments=arguments,
        )
        envelope = self._envelope(request)
        await asyncio.to_thread(self._record, request, envelope, actor)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[rid] = answer
        try:
            topic = DeviceTopics(self._fleet, DeviceId(device)).command(name)
            await self._publish(topic, envelope, timeout_s)
            return await asyncio.wait_for(answer, timeout_s)
        except asyncio.TimeoutError as e:
            raise NoResponse(
                Reason.NO_RESPONSE, f"{device} did not answer {name} within {timeout_s:g} s; is it online?"
            ) from e
        finally:
            del self._waiting[rid]

    def waiting(self, device: str, after: float) -> list[ResponseRow]:
        """The device's commands issued after a time that are neither answered nor over, oldest first."""
        query = select(ResponseRow).where(
            ResponseRow.device == device,
            ResponseRow.issued_at > after,
            ResponseRow.answered_at.is_(None),
            ResponseRow.expires_at > self._clock.wall(),
            ResponseRow.envelope.is_not(None),
        )
        with self._database.read() as session:
            return list(session.scalars(query.order_by(ResponseRow.issued_at).limit(50)))

    def answered(self, device: str, response: Response) -> None:
        """Called for each stored response, in the event loop; the row has already been matched to the device."""
        waiting = self._waiting.get(response.rid)
        if waiting is not None and not waiting.done():
            waiting.set_result(response)

    def _record(self, request: Command, envelope: bytes, actor: str) -> None:
        with self._database.write() as session:
            if session.get(Device, request.device) is None:
                raise NotFound("device", request.device)
            row = ResponseRow(
                rid=request.rid,
                device=request.device,
                name=request.name,
                issued_at=request.issued_at,
                issued_by=actor,
                expires_at=request.expires_at,
                envelope=envelope.decode(),
            )
            session.add(row)
            audit.record(
                session, request.issued_at, actor, f"command.{request.name}", request.device, rid=request.rid
            )

    def _envelope(self, request: Command) -> bytes:
        self._seq += 1
        return Envelope(
            id=self._ids.unique(),
            at=request.issued_at,
            boot=self._boot,
            seq=self._seq,
            data=self._signer.command(request),
            exp=request.expires_at,
            rid=request.rid,
        ).encode()
