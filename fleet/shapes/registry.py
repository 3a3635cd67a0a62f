"""What the API says of models and workflows."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict

from fleet.shapes.pages import ProblemPlace


class VersionView(TypedDict):
    """An immutable version of a model or workflow. `card` is what the check found; `notes` is what people added to it."""

    name: str
    version: int
    digest: str
    size_bytes: int
    card: dict[str, Any]
    notes: dict[str, Any]
    aliases: list[str]
    created_at: float
    created_by: str


class UploadedVersion(VersionView):
    """A version after its upload. `signed` is false where it waits for an offline key before devices may have it."""

    signed: bool


class AliasView(TypedDict):
    """A name for a version that may be moved to another one."""

    name: str
    alias: str
    version: int
    digest: str
    set_at: float
    set_by: str


class UseView(TypedDict):
    """A device that uses a version: `wanted` by its newest desired state, `running` by what it reported, `kept` to go back to."""

    device: str
    wanted: bool
    running: bool
    kept: bool


class RunningView(TypedDict):
    """A model or workflow that devices report to run: how many, how many of them are online, how many say it is not well. `name` is
    the registry's `name@version`, or the device's own where the registry knows none."""

    kind: str
    digest: str
    name: str
    devices: int
    online: int
    troubled: int


class FieldChange(TypedDict):
    """A field that differs, dotted below its step; a side that has none is absent."""

    path: str
    before: NotRequired[Any]
    after: NotRequired[Any]


class PartChange(TypedDict):
    """A step, input or output that is there on both sides and differs."""

    name: str
    fields: list[FieldChange]


class PartsDiff(TypedDict):
    """Steps, inputs or outputs compared, by name."""

    added: list[str]
    removed: list[str]
    changed: list[PartChange]


class WorkflowDiff(TypedDict):
    """Two versions of a workflow compared. `same` where nothing that runs differs."""

    before: str
    after: str
    same: bool
    inputs: PartsDiff
    steps: PartsDiff
    outputs: PartsDiff


class WorkflowVerdict(TypedDict):
    """What the check of an upload says. `card` is what an upload would get; empty where it would be refused."""

    ok: bool
    reason: str
    message: str
    problems: list[ProblemPlace]
    card: dict[str, Any]


class TrialFrame(TypedDict):
    """One frame that was tried. `picture` is JPEG in base64, as a device would draw it; `width`, `height` are the frame's own."""

    frame: int
    at_s: float | None
    picture: str
    width: int
    height: int
    outputs: dict[str, Any]
    errors: dict[str, str]
    no_answer: str


class TrialFailure(TypedDict):
    """A step that failed on so many frames, with its last message."""

    frames: int
    message: str


class TrialView(TypedDict):
    """A definition tried. `frames` are some of the `done` ones, evenly spread; `not_sent`: sinks, which send nothing in a trial;
    `ended` says why it did not go on to the clip's end."""

    frames: list[TrialFrame]
    done: int
    blind: int
    failed: dict[str, TrialFailure]
    step_us: dict[str, float]
    not_sent: list[str]
    passed_over: list[str]
    ended: str


class Collectable(TypedDict):
    """A version that nothing needs."""

    kind: str
    name: str
    version: int
    digest: str
    size_bytes: int
    created_at: float


class CollectionPlan(TypedDict):
    """What a clean-up of the registry removes, or has removed. `plan` names exactly this plan."""

    plan: str
    done: bool
    versions: list[Collectable]
    objects: int
    bytes: int


class FamilyView(TypedDict):
    """A family of models; `expects` says which outputs a graph of it has."""

    name: str
    expects: str
