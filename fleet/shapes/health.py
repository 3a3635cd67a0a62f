"""What the API says of health over time, of faults, and of the fleet at a glance."""

from __future__ import annotations

from typing_extensions import TypedDict


class SeriesView(TypedDict):
    """One figure of a device (`name` empty), camera or model. `values` are means, or the growth of what is counted (`counter`); `low` and
    `high` are of what is measured. None where nothing is known."""

    scope: str
    name: str
    figure: str
    unit: str
    counter: bool
    values: list[float | None]
    low: list[float | None] | None
    high: list[float | None] | None


class ChartView(TypedDict):
    """Figures over time. `times` are the beginnings of the steps; each series has a value for each."""

    device: str
    step_s: int
    times: list[int]
    series: list[SeriesView]


class FaultKindView(TypedDict):
    """A kind of fault as it is declared, with this fleet's settings."""

    code: str
    scope: str
    severity: str
    depends_on: list[str]
    visible_s: float
    clear_s: float
    text: str
    remedy: str


class FaultView(TypedDict):
    """A fault. `subject` is e.g. `camera:gate-1/door`; `parent` the fault of which it is a consequence; `consequences` how many of those
    that are there now stand beneath it."""

    id: str
    code: str
    severity: str
    subject: str
    site: str
    device: str
    part: str
    text: str
    remedy: str
    message: str
    opened_at: float
    visible_at: float
    clearing_at: float | None
    cleared_at: float | None
    parent: str | None
    root: str
    returns: int
    consequences: int


class FaultDetail(FaultView):
    """A fault with what stands beneath it."""

    beneath: list[FaultView]


class SightView(TypedDict):
    """What the models of a camera saw over some days. `confidence` and `brightness` are means, from 0 to 1; `scores` detections by
    confidence in equal bins."""

    asked: int
    detections: int
    empty_share: float | None
    confidence: float | None
    brightness: float | None
    scores: list[int]
    classes: dict[str, int]


class DriftView(TypedDict):
    """How far a camera's last days are from those before, seen by the models it has now: the population stability index of confidences and of
    classes (0.1 is a small change, 0.25 a large one), None where too little was seen."""

    device: str
    camera: str
    score_psi: float | None
    class_psi: float | None
    recent: SightView
    reference: SightView


class ModelVersionView(TypedDict):
    """A version of a model over the devices that ran it. What cameras saw counts where it is the camera's only model."""

    model: str
    version: int
    digest: str
    devices: int
    cameras: int
    requests: int
    error_share: float | None
    restarts: int
    infer_p95_ms: float | None
    infer_p95_most_ms: float | None
    seen: SightView


class SiteView(TypedDict):
    """A site at a glance; the empty name is of devices without one."""

    site: str
    devices: int
    online: int
    faults: dict[str, int]


class OverviewView(TypedDict):
    """The part of the fleet that the asker may see, some seconds old at most: devices by presence and by version, faults by severity
    (consequences not counted), alerts that are firing by severity, of them acknowledged and silenced; sites."""

    at: float
    devices: int
    presence: dict[str, int]
    versions: dict[str, int]
    faults: dict[str, int]
    alerts: dict[str, int]
    sites: list[SiteView]
