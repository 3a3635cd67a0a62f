"""Keeps alerts: takes faults and figures, has `decision` decide, writes, and queues what is to be told. Decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet.alerts import causes, messages, store
from fleet.alerts.decision import Alert, Cause, Decided, Notice, decide
from fleet.alerts.reach import Reach
from fleet.alerts.rules import QUARTER_S, Rule, fits
from fleet.alerts.store import Letter
from fleet.alerts.tables import AlertRow, SilenceRow
from fleet.alerts.targets import Email, Mqtt, Slack, Webhook
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import FleetError
from fleet.health.buckets import Bucket, merge
from fleet.health.figures import unpacked
from fleet.health.history import progress_of
from fleet.health.tables import HealthStep
from fleet.health.watch import Watch
from fleet.selector import parse
from fleet.tables import Device

log = logging.getLogger(__name__)

DEVICES_AT_ONCE = 200
ROWS_AT_ONCE = 500
DAY_S = 86_400.0


def source_of(fleet: str) -> str:
    """What names this fleet in messages."""
    return f"/outrider/{fleet}"


class Teller:
    """`run` ticks until cancelled, while `leads` says so and `watch` knows the faults."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        watch: Watch,
        source: str,
        site_label: str,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
        tick_s: float,
        reach: Reach,
    ) -> None:
        """`source` names this fleet in messages."""
        self._database = database
        self._clock = clock
        self._ids = ids
        self._watch = watch
        self._source = source
        self._site_label = site_label
        self._leads = leads
        self._guard = guard
        self._tick_s = tick_s
        self._reach = reach
        self._figures: tuple[Cause, ...] = ()
        self._figures_of: tuple[int, tuple[tuple[str, Rule], ...]] = (0, ())

    async def run(self) -> None:
        while True:
            try:
                if self._leads() and self._watch.loaded:
                    await asyncio.to_thread(self.tick)
            except FleetError as e:
                log.info("alerts are looked at later", extra={"cause": str(e)})
            except Exception:  # the boundary: the next tick begins from the database
                log.exception("alerts cannot be worked on")
            await asyncio.sleep(self._tick_s)

    def tick(self) -> None:
        """Look, decide, write, queue."""
        at = self._clock.wall()
        with self._database.read() as session:
            rules = store.rules(session)
            before = store.firing(session)
            self._look_at_figures(session, rules)
            reach = self._reach.of(rules)
            found = [*causes.of_faults(self._watch.told(), rules, reach), *self._figures]
            if not found and not before:
                return
            silences = store.silences(session, at)
            targets = store.targets(session)
        decided = decide({key: alert for key, (_, alert) in before.items()}, found, rules, silences, at)
        changed = [
            alert for key, alert in decided.alerts.items() if key not in before or before[key][1] is not alert
        ]
        if not changed:
            return
        names = {key: before[key][0] if key in before else self._ids.unique() for key in decided.alerts}
        over = {
            names[key]: decided.alerts[key].fired_at
            for key, notice in decided.notices
            if notice is Notice.RESOLVED
        }
        with self._database.read() as session:
            told = store.told_of(session, over)
        letters = self._letters(decided, names, rules, targets, told, at)
        with self._database.write() as session:
            self._guard(session)
            for start in range(0, len(changed), ROWS_AT_ONCE):
                part = changed[start : start + ROWS_AT_ONCE]
                store.save(session, names, part, {a.cause.key for a in part} - before.keys())
            lost = store.queue(session, letters, at)
        if lost:
            log.error("messages of alerts have no room", extra={"lost": lost})

    def _letters(
        self,
        decided: Decided,
        names: Mapping[str, str],
        rules: Mapping[str, Rule],
        targets: Mapping[str, Webhook | Slack | Email | Mqtt],
        told: Mapping[str, set[str]],
        at: float,
    ) -> list[Letter]:
        """For each target one of each alert, or one of all where they are many. `told`: that one is over goes to those who know of it."""
        for_target: defaultdict[str, list[tuple[str, Alert, Notice]]] = defaultdict(list)
        for key, notice in decided.notices:
            alert = decided.alerts[key]
            rule = rules.get(alert.cause.rule)
            for name, target in targets.items():
                if notice is Notice.RESOLVED and name not in told[names[key]]:
                    continue
                if target.takes(alert.cause.severity) and (rule is None or fits(rule.targets, name)):
                    for_target[name].append((names[key], alert, notice))
        return [letter for name, news in for_target.items() for letter in self._for_target(name, news, at)]

    def _for_target(self, target: str, told: Sequence[tuple[str, Alert, Notice]], at: float) -> list[Letter]:
        datas = [messages.data_of(*each) for each in told]
        if len(datas) > messages.DIGEST_ABOVE:
            return [self._letter("", target, messages.DIGEST, messages.digest_of(datas), at)]
        return [self._letter(data["alert"], target, data["state"], data, at) for data in datas]

    def _letter(self, alert: str, target: str, kind: str, data: dict[str, object], at: float) -> Letter:
        name = self._ids.unique()
        return Letter(name, alert, target, kind, messages.cloud_event(name, self._source, kind, at, data))

    # --- figures ------------------------------------------------------------------------------------------------------

    def _look_at_figures(self, session: Session, rules: Mapping[str, Rule]) -> None:
        """Once for each quarter of an hour that has been made, and where a rule has changed."""
        limits = tuple(
            (name, rule) for name, rule in rules.items() if rule.limit is not None and rule.enabled
        )
        mark = progress_of(session).levels.get(QUARTER_S)
        until = mark.start if mark is not None else 0
        if (until, limits) == self._figures_of:
            return
        former = {cause.key: cause.since for cause in self._figures}
        found = self._breaches(session, limits, until) if limits and until else ()
        self._figures = tuple(
            Cause(**{**vars(cause), "since": former.get(cause.key, cause.since)}) for cause in found
        )
        self._figures_of = until, limits

    def _breaches(
        self, session: Session, limits: Sequence[tuple[str, Rule]], until: int
    ) -> tuple[Cause, ...]:
        at = self._clock.wall()
        windows = {rule.limit.window_s for _, rule in limits if rule.limit is not None}
        in_service = Device.revoked_at.is_(None) & Device.retired_at.is_(None)
        devices = session.execute(
            select(Device.id, Device.labels).where(in_service).order_by(Device.id)
        ).all()
        found: list[Cause] = []
        for start in range(0, len(devices), DEVICES_AT_ONCE):
            labels = {row.id: row.labels for row in devices[start : start + DEVICES_AT_ONCE]}
            buckets = _windows(session, list(labels), until, windows)
            for (device, window_s), bucket in buckets.items():
                site = str(labels[device].get(self._site_label, ""))
                for name, rule in limits:
                    if rule.limit is None or not parse(rule.selector).matches(labels[device]):
                        continue
                    if rule.limit.window_s == window_s:
                        found += causes.of_figures(name, rule, device, site, bucket, at)
        return tuple(found)

    def forget_old(self, days: float) -> None:
        """Remove alerts and silences that ended longer ago."""
        until = self._clock.wall() - days * DAY_S
        with self._database.write() as session:
            session.execute(delete(AlertRow).where(AlertRow.resolved_at < until))
            session.execute(delete(SilenceRow).where(SilenceRow.until_at < until))


def _windows(
    session: Session, devices: list[str], until: int, windows: set[int]
) -> dict[tuple[str, int], Bucket]:
    """Each device's last quarters put together, for each length of time."""
    query = select(HealthStep).where(
        HealthStep.device.in_(devices),
        HealthStep.step == QUARTER_S,
        HealthStep.start >= until - max(windows),
        HealthStep.start < until,
    )
    found: dict[tuple[str, int], Bucket] = {}
    for row in session.scalars(query):
        bucket = unpacked(row.figures)
        for window_s in windows:
            if row.start >= until - window_s:
                merge(found.setdefault((row.device, window_s), {}), bucket)
    return found
