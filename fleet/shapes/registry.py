"""What the API says of models and workflows."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict


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
