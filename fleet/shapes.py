"""What the API answers, as types: the server builds them, the OpenAPI document describes them, the client returns them.

Times are seconds since the epoch, on the control plane's clock unless the name says otherwise.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from typing_extensions import NotRequired, TypedDict

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """One page of a list. `next` is the cursor of the following one; absent at the end."""

    items: list[T]
    next: str | None


class ProblemPlace(TypedDict):
    """One thing wrong: where (dotted from the document's root), what, what was expected, what to do."""

    path: str
    reason: str
    message: str
    expected: str
    remedy: str


class ProblemDocument(TypedDict):
    """RFC 9457. `reason` is a code of the closed list in docs/reasons.md; `problems` holds all of them at once."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    remedy: str
    request_id: NotRequired[str]
    problems: NotRequired[list[ProblemPlace]]


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
    """An event of a camera. `at` is on the device's clock."""

    cursor: int
    id: str
    device: str
    camera: str
    frame_seq: int
    at: float
    received_at: float
    data: dict[str, Any]


class EventPage(TypedDict):
    """Events in the order of arrival. `next` is the cursor to go on with, also where nothing has come yet."""

    items: list[EventView]
    next: str


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


class ApiTokenView(TypedDict):
    """A bearer token, without its text. `owner` is the user whose rights bound its own."""

    id: str
    name: str
    role: str
    selector: str
    owner: str | None
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class NewApiTokenView(ApiTokenView):
    """With its text, this one time."""

    token: str


class EnrolmentTokenView(TypedDict):
    """An enrolment token, without its text. `used_at` and `used_by` are of its last use."""

    id: str
    device: str | None
    replace: bool
    labels: dict[str, str]
    uses: int
    used: int
    created_at: float
    created_by: str
    expires_at: float
    used_at: float | None
    used_by: str | None
    revoked_at: float | None


class NewEnrolmentTokenView(EnrolmentTokenView):
    """With its text, this one time."""

    token: str


class BindingView(TypedDict):
    """A role on the devices of a selector; the empty selector is the whole fleet and what belongs to no device."""

    role: str
    selector: str


class UserView(TypedDict):
    """A person. `provider` says whether the identity provider signs this person in; `password`, whether there is one."""

    name: str
    full_name: str
    bindings: list[BindingView]
    disabled: bool
    password: bool
    provider: bool
    created_at: float
    created_by: str
    last_sign_in_at: float | None


class SessionView(TypedDict):
    """Who is signed in. A change by cookie carries `csrf` in the header X-CSRF-Token; empty for a bearer token."""

    name: str
    kind: str
    bindings: list[BindingView]
    csrf: str
    expires_at: float | None


class SignInWays(TypedDict):
    """How people may sign in here."""

    password: bool
    provider: bool


class AuditView(TypedDict):
    """A row of the audit log. `before` and `after` are digests of what was changed; `hash` covers all and the row before."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    request_id: str
    before: str | None
    after: str | None
    hash: str


class AuditHeadView(TypedDict):
    """The end of the audit log, signed (DSSE, the state-signing key) for whoever keeps it elsewhere."""

    count: int
    hash: str
    at: float
    signed: dict[str, Any]


class BrokerHealth(TypedDict):
    """The broker as the control plane sees it."""

    kind: str
    connected: bool
    restarts: int


class IngestHealth(TypedDict):
    """Figures of what devices said, since the start of the process. `refused` counts by cause."""

    received: int
    events: int
    repeated: int
    refused: dict[str, int]
    write_retries: int


class ReplicaHealth(TypedDict):
    """Which of several control planes answers, and whether it does what only one may do."""

    name: str
    leads: bool


class PlaneHealth(TypedDict):
    """Whether the control plane works."""

    ok: bool
    broker: BrokerHealth
    replica: ReplicaHealth
    devices: int
    ingest: IngestHealth


class RolloutView(TypedDict):
    """A rollout at a glance. `wave` counts from 1; `devices` by status; `judged` is what stopped it, or what is waited for."""

    name: str
    phase: str
    wave: int
    waves: int
    since: float
    judged: str
    created_by: str
    devices: dict[str, int]


class RolloutDetail(RolloutView):
    """A rollout with its plan. `reach`: how many devices the waves begun so far may reach."""

    plan: dict[str, Any]
    settled_at: float | None
    reach: int


class RolloutMemberView(TypedDict):
    """One device of a rollout; `revision` is the desired revision that carries the change, or the way back."""

    device: str
    status: str
    since: float
    attempts: int
    revision: int
    reason: str
    message: str


class RolloutNoteView(TypedDict):
    """A line of a rollout's history."""

    at: float
    actor: str
    words: str
