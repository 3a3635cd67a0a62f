"""What alerts are about: faults that rules fit, and figures past their limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleet.alerts.decision import Cause
from fleet.alerts.rules import SHARES, FigureLimit, Rule
from fleet.health.buckets import THOUSANDTHS, Bucket
from fleet.health.figures import SCOPES
from fleet.health.watch import ToldFault

NOWHERE: Mapping[str, frozenset[str]] = {}


def of_faults(
    faults: Iterable[ToldFault], rules: Mapping[str, Rule], reach: Mapping[str, frozenset[str]] = NOWHERE
) -> Iterator[Cause]:
    """Each fault with the first rule that fits it. `reach`: the devices of rules that have a selector."""
    for fault in faults:
        for name, rule in rules.items():
            if rule.selector and fault.device not in reach.get(name, ()):
                continue
            if rule.concerns(fault.code, fault.severity, fault.site, fault.device):
                yield Cause(
                    key=fault.id,
                    rule=name,
                    severity=rule.severity or fault.severity,
                    code=fault.code,
                    subject=fault.subject,
                    site=fault.site,
                    device=fault.device,
                    part=fault.part,
                    summary=fault.message,
                    since=fault.since,
                    muted=fault.consequence,
                    fault=fault.id,
                )
                break


def of_figures(
    rule_name: str, rule: Rule, device: str, site: str, bucket: Bucket, at: float
) -> Iterator[Cause]:
    """The device, cameras or models whose figure is past the rule's limit, in what is known of the rule's window."""
    limit = rule.limit
    if limit is None or not rule.enabled or not rule.reaches(site, device):
        return
    for scope_name, value in values_of(limit, bucket):
        if (limit.above is not None and value <= limit.above) or (
            limit.below is not None and value >= limit.below
        ):
            continue
        scope, _, part = scope_name.partition("/")
        subject = f"{scope}:{device}" + (f"/{part}" if part else "")
        bound = f"above {limit.above:g}" if limit.above is not None else f"below {limit.below:g}"
        words = SHARES[limit.figure][1] if limit.figure in SHARES else ""
        yield Cause(
            key=f"{rule_name} {subject}",
            rule=rule_name,
            severity=rule.severity or "warning",
            code=limit.figure,
            subject=subject,
            site=site,
            device=device,
            part=part,
            summary=f"{limit.figure} is {value:.4g} {words}".rstrip()
            + f" over {limit.window_s / 60:g} minutes, {bound}",
            since=at,
        )


def values_of(limit: FigureLimit, bucket: Bucket) -> Iterator[tuple[str, float]]:
    """`scope/name` and value, where the figure is known."""
    for scope_name, figures in bucket.items():
        value = _value(limit, scope_name.partition("/")[0], figures)
        if value is not None:
            yield scope_name, value


def _value(limit: FigureLimit, scope: str, figures: Mapping[str, Any]) -> float | None:
    if limit.figure in SHARES:
        return _share(limit, figures) if scope == SHARES[limit.figure][0] else None
    value = figures.get(limit.figure)
    if value is None or limit.figure not in SCOPES[scope]:
        return None
    return value / THOUSANDTHS if isinstance(value, int) else value[1] / value[0] / THOUSANDTHS


def _share(limit: FigureLimit, figures: Mapping[str, Any]) -> float | None:
    if limit.figure == "blind_share":
        blind = figures.get("blind_s")
        return None if blind is None else min(blind / THOUSANDTHS / limit.window_s, 1.0)
    part, whole = {"no_answer_share": ("no_answer", "frames"), "error_share": ("errors", "requests")}[
        limit.figure
    ]
    total = figures.get(whole)
    return figures.get(part, 0) / total if total else None
