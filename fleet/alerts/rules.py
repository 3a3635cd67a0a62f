"""Rules and silences as documents, checked where they are written; and the rules that are there from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from fleet.errors import Refused
from fleet.health.faults import Severity
from fleet.health.figures import SCOPES
from fleet.selector import parse

Pattern = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
"""A name, or one with `*` and `?`."""
SeverityName = Literal["critical", "warning", "info"]
WORST = [severity.value for severity in Severity]
QUARTER_S = 900

SHARES: dict[str, tuple[str, str]] = {
    "blind_share": ("camera", "of the time without results"),
    "no_answer_share": ("camera", "of the frames without an answer"),
    "error_share": ("model", "of the requests that failed"),
}
"""Figures made of others, with their scope."""


class Written(BaseModel):
    """What a person writes: unknown fields are refused, because a misspelt one would be passed over in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class FigureLimit(Written):
    """A figure of each device, camera or model over the last `window_s` (whole quarters of an hour): the mean of what is measured, the
    growth of what is counted, or a share."""

    figure: str = Field(max_length=64)
    above: float | None = None
    below: float | None = None
    window_s: int = Field(default=3600, ge=QUARTER_S, le=86_400, multiple_of=QUARTER_S)

    @field_validator("figure")
    @classmethod
    def _known(cls, figure: str) -> str:
        known = {name for scope in SCOPES.values() for name in scope} | SHARES.keys()
        if figure not in known:
            raise ValueError(f"no figure is called {figure!r}; there are {', '.join(sorted(known))}")
        return figure

    @model_validator(mode="after")
    def _one_bound(self) -> FigureLimit:
        if (self.above is None) == (self.below is None):
            raise ValueError("one of above and below is expected")
        return self


class Rule(Written):
    """Whom to tell of what. Without `limit` it is about faults that are no consequences: of these `codes` (patterns), at least this bad; with it about a figure. It fires after `for_s`, is told again every `repeat_s` until somebody acknowledges, and is over `resolve_s`
    after its cause. `sites` and `devices` are patterns, `selector` is over labels of devices: with one, what is of no device is not its. Of several rules that fit a fault the first by `place` has it."""

    place: int = Field(default=100, ge=0, le=10_000)
    enabled: bool = True
    codes: tuple[Pattern, ...] = Field(default=("*",), min_length=1, max_length=100)
    min_severity: SeverityName = "info"
    limit: FigureLimit | None = None
    severity: SeverityName | None = None
    sites: tuple[Pattern, ...] = Field(default=("*",), max_length=100)
    devices: tuple[Pattern, ...] = Field(default=("*",), max_length=100)
    selector: str = Field(default="", max_length=2000)
    for_s: float = Field(default=60.0, ge=0, le=604_800)
    resolve_s: float = Field(default=0.0, ge=0, le=86_400)
    repeat_s: float = Field(default=14_400.0, ge=60, le=2_592_000)
    tell_resolved: bool = True
    targets: tuple[Pattern, ...] = Field(default=("*",), max_length=100)

    @field_validator("selector")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            return str(parse(text))
        except Refused as e:
            raise ValueError(str(e)) from e

    def concerns(self, code: str, severity: str, site: str, device: str) -> bool:
        """Whether a fault is this rule's."""
        return (
            self.enabled
            and self.limit is None
            and WORST.index(severity) <= WORST.index(self.min_severity)
            and fits(self.codes, code)
            and self.reaches(site, device)
        )

    def reaches(self, site: str, device: str) -> bool:
        return (self.sites == ("*",) or fits(self.sites, site)) and (
            self.devices == ("*",) or fits(self.devices, device)
        )


BUILT_IN = {
    "critical": Rule(place=1000, min_severity="critical", for_s=60.0, repeat_s=14_400.0),
    "warning": Rule(place=1001, min_severity="warning", for_s=600.0, repeat_s=86_400.0),
    "blind-time": Rule(
        place=1002,
        limit=FigureLimit(figure="blind_share", above=0.2, window_s=3600),
        severity="warning",
        repeat_s=86_400.0,
    ),
    "inference-errors": Rule(
        place=1003,
        limit=FigureLimit(figure="error_share", above=0.05, window_s=900),
        severity="warning",
        repeat_s=86_400.0,
    ),
}
"""What one gets without having written a rule. One of the same name takes the place of it."""


class Matcher(Written):
    """Which alerts: patterns, all of which must fit; at least one is given."""

    code: Pattern | None = None
    rule: Pattern | None = None
    site: Pattern | None = None
    device: Pattern | None = None
    part: Pattern | None = None

    @model_validator(mode="after")
    def _something(self) -> Matcher:
        if not any((self.code, self.rule, self.site, self.device, self.part)):
            raise ValueError("one of code, rule, site, device, part is expected")
        return self


@dataclass(frozen=True)
class Silence:
    """Alerts that nobody is told of, from one time until another."""

    id: str
    matcher: Matcher
    from_wall: float
    until_wall: float

    def covers(self, *, code: str, rule: str, site: str, device: str, part: str, at: float) -> bool:
        wanted = self.matcher
        pairs = (
            (wanted.code, code),
            (wanted.rule, rule),
            (wanted.site, site),
            (wanted.device, device),
            (wanted.part, part),
        )
        return self.from_wall <= at < self.until_wall and all(
            fnmatchcase(value, pattern) for pattern, value in pairs if pattern is not None
        )


def fits(patterns: Sequence[str], text: str) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
