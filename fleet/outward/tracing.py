"""Traces of updates and rollouts to an OpenTelemetry collector, over OTLP/HTTP. Its libraries are imported only where a collector is named."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import func, select

from fleet.clock import Clock
from fleet.config import Otel
from fleet.db import Database
from fleet.errors import Misconfigured
from fleet.outward.spans import Span, Told, of_rollout, of_update
from fleet.rollout.state import ENDS
from fleet.rollout.tables import RolloutMember, RolloutNote, RolloutRow
from fleet.tables import DesiredRevision, Device
from wire.phase import TERMINAL
from wire.reasons import Reason

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""A device that ends two updates within this time is told of with the second alone."""
KNOWN = 50_000
"""Updates that are remembered as told."""
AGE_S = 3600.0
"""What ended longer ago is not told after a start."""
NANO = 1_000_000_000

Send = Callable[[list[Span]], None]


class Tracing:
    """`run` looks for what has ended and sends it, while `leads`."""

    def __init__(
        self, fleet: str, database: Database, clock: Clock, send: Send, leads: Callable[[], bool]
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._clock = clock
        self._send = send
        self._leads = leads
        self._since = clock.wall() - AGE_S
        self._told: OrderedDict[tuple[str, int, str], None] = OrderedDict()

    async def run(self) -> None:
        while True:
            if self._leads():
                try:
                    if spans := await asyncio.to_thread(self.look):
                        self._send(spans)
                except Exception:  # the boundary: traces are never worth a rollout
                    log.exception("traces are not told for now")
            await asyncio.sleep(LOOK_S)

    def look(self) -> list[Span]:
        """The spans of what has ended since the last time."""
        at = self._clock.wall()
        with self._database.read() as session:
            spans = [*self._updates(session), *self._rollouts(session)]
        # What is stored later than it was received is found the next time.
        self._since = max(self._since, at - 60.0)
        return spans

    def _updates(self, session: Any) -> list[Span]:
        phase = Device.reported["phase"].as_string()
        ended = select(Device.id, Device.reported).where(
            Device.reported_at >= self._since, phase.in_([each.value for each in TERMINAL])
        )
        spans = []
        for device, reported in session.execute(ended).all():
            revision = reported.get("offered")
            key = (device, revision, str(reported.get("phase")))
            if not isinstance(revision, int) or not self._new(key):
                continue
            if (told := _told(session, device, revision)) is not None:
                spans += of_update(self._fleet, told, reported)
        return spans

    def _rollouts(self, session: Any) -> list[Span]:
        over = [phase.value for phase in ENDS]
        rows = session.scalars(
            select(RolloutRow).where(RolloutRow.phase.in_(over), RolloutRow.since >= self._since)
        )
        spans = []
        for row in rows.all():
            if self._new((row.name, 0, row.phase)):
                first = select(func.min(RolloutNote.at)).where(RolloutNote.rollout == row.name)
                begun = session.scalar(first) or row.since
                spans.append(of_rollout(self._fleet, row.name, row.phase, row.created_by, begun, row.since))
        return spans

    def _new(self, key: tuple[str, int, str]) -> bool:
        if key in self._told:
            return False
        self._told[key] = None
        while len(self._told) > KNOWN:
            self._told.popitem(last=False)
        return True


def _told(session: Any, device: str, revision: int) -> Told | None:
    row = session.get(DesiredRevision, (device, revision))
    if row is None:
        return None
    mine = select(RolloutMember.rollout).where(
        RolloutMember.device == device, RolloutMember.revision == revision
    )
    return Told(device, revision, row.created_at, row.created_by, session.scalar(mine.limit(1)) or "")


def open_sender(config: Otel, headers: Mapping[str, str], fleet: str) -> tuple[Send, Callable[[], None]]:
    """What sends spans to the collector, and what ends it. Spans wait in a bounded queue; the oldest give way.

    :raises Misconfigured: the libraries are not installed
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as e:
        raise Misconfigured(
            Reason.EXTRA_MISSING, f"otel.endpoint needs pip install 'outrider[fleet,otel]': {e}"
        ) from e
    url = config.endpoint.rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=url if url.endswith("/v1/traces") else f"{url}/v1/traces",
        headers=dict(headers),
        timeout=config.timeout_s,
    )
    processor = BatchSpanProcessor(exporter, max_queue_size=20_000, schedule_delay_millis=1000)
    resource = Resource.create({"service.name": config.service, "service.namespace": fleet})

    def send(spans: list[Span]) -> None:
        for span in spans:
            processor.on_end(_readable(span, resource))

    return send, processor.shutdown


def _readable(span: Span, resource: Any) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(span.trace, span.id, is_remote=False, trace_flags=flags)
    parent = SpanContext(span.trace, span.parent, is_remote=True, trace_flags=flags) if span.parent else None
    status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK)
    return ReadableSpan(
        span.name,
        context=context,
        parent=parent,
        resource=resource,
        attributes=dict(span.attributes),
        kind=SpanKind.INTERNAL,
        status=status,
        start_time=int(span.begin_wall * NANO),
        end_time=int(span.end_wall * NANO),
        instrumentation_scope=InstrumentationScope("outrider"),
    )
