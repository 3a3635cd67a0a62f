"""What the API says of devices, and what devices said."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict


class DeviceView(TypedDict):
    """A device at a glance. `revision`, `phase` and `reason` are what it reported last."""

    id: str
    labels: dict[str, str]
    presence: str
    presence_at: float | None
    last_seen_at: float | None
    enrolled_at: float
    revoked_at: float | None
    retired_at: float | None
    sealing_key: str
    agent_version: str
    revision: int | None
    phase: str | None
    reason: str | None


class DeviceDetail(DeviceView):
    """A device with the whole of what it said last."""

    reported: dict[str, Any] | None
    reported_at: float | None
    health: dict[str, Any] | None
    health_at: float | None


class LabelsView(TypedDict):
    """The labels of a device."""

    labels: dict[str, str]


class SecretView(TypedDict):
    """The name of a sealed secret; nobody but the device can read its text."""

    name: str
    set_at: float
    set_by: str


class DesiredView(TypedDict):
    """A desired state as it was signed."""

    device: str
    revision: int
    created_at: float
    created_by: str
    expires_at: float | None
    document: dict[str, Any]


class DesiredSet(DesiredView):
    """The answer to a new desired state. `published` is false where the broker is away; it follows then."""

    published: bool


class EventView(TypedDict):
    """An event of a camera. `at` is on the device's clock. `workflow`: `name@version`, or the digest where the registry does not know
    it; `kind`: `result` (outputs of a whole workflow) or `sink` (what a step sent)."""

    cursor: int
    id: str
    device: str
    camera: str
    workflow: str
    kind: str
    frame_seq: int
    at: float
    received_at: float
    data: dict[str, Any]


class EventPage(TypedDict):
    """Events in the order of arrival. `next` is the cursor to go on with, also where nothing has come yet."""

    items: list[EventView]
    next: str


class EventList(TypedDict):
    """Events of the fleet. `next` is the cursor to go on with; None where it ends. A page may hold few or no events, and yet there
    is a next one: so far was looked."""

    items: list[EventView]
    next: str | None


class ClipView(TypedDict):
    """A film of a camera. `from_wall` and `to_wall` are on the device's clock."""

    id: str
    device: str
    camera: str
    media_type: str
    from_wall: float
    to_wall: float
    frames: int
    width: int
    height: int
    size_bytes: int
    received_at: float


class PictureView(TypedDict):
    """A picture of a camera. `source`: `event` (the event has the same id) or `sample`. `taken_wall` is on the device's clock; `about` is
    a `wire.picture.About`: provenance, and what the model found as labels."""

    id: str
    device: str
    camera: str
    source: str
    workflow: str
    media_type: str
    taken_wall: float
    received_at: float
    width: int
    height: int
    size_bytes: int
    about: dict[str, Any]


class HealthPoint(TypedDict):
    """Figures of one health message."""

    at: float
    received_at: float
    revision: int
    figures: dict[str, Any]


class CommandAnswer(TypedDict):
    """What the device answered to a command."""

    rid: str
    name: str
    ok: bool
    result: NotRequired[Any]
    reason: NotRequired[str | None]
    message: NotRequired[str | None]


class BenchmarkView(TypedDict):
    """What a model costs on a device, in an engine. `names` is what the registry calls the model."""

    device: str
    at: float
    hardware: str
    model: str
    digest: str
    names: list[str]
    engine: str
    figures: dict[str, Any]


class SelectionView(TypedDict):
    """The devices that a selector matches and the asker may see: how many, how many of them are online, and the first names."""

    devices: int
    online: int
    names: list[str]
