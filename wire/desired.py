"""The desired state of one device, and the signed form in which it travels.

The document is bound to the device's id, its revision only grows, and it expires. It is applied as one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, model_validator

from wire import dsse, source, windows
from wire.camera import ActiveHours, Care, Clips, Deadlines, PictureChecks, Privacy, Sampling
from wire.doc import Doc, read
from wire.errors import NotTrusted, Refused
from wire.names import Digest, Name
from wire.problem import Problem, nearest
from wire.reach import Reach
from wire.reasons import Reason
from wire.redact import redact
from wire.update import Update

PAYLOAD_TYPE = "application/vnd.outrider.desired+json"


class Camera(Doc):
    """Where frames come from.

    `source`: `rtsp://…`, `http://…`, a device number or `/dev/video…`, or a path of a video file. `pace`: `live` plays a file
    at its own frame rate and drops what comes too late; `file` takes every frame as fast as it can; the default is
    `live` for everything but files, and `realtime` for files: every frame, at the file's own rate. `fps` limits the rate
    at which frames are worked on; 0 is no limit. `deadlines`, `checks`, `hours`, `privacy`, `shed`, `clips` and
    `sampling` are those of `wire.camera`.
    """

    source: str = Field(min_length=1, max_length=2048)
    pace: Literal["live", "realtime", "file"] | None = None
    fps: float = Field(default=0.0, ge=0.0, le=1000.0)
    loop: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    deadlines: Deadlines = Field(default_factory=Deadlines)
    checks: PictureChecks = Field(default_factory=PictureChecks)
    hours: ActiveHours = Field(default_factory=ActiveHours)
    privacy: Privacy = Field(default_factory=Privacy)
    shed: bool = True
    clips: Clips = Field(default_factory=Clips)
    sampling: Sampling = Field(default_factory=Sampling)

    @property
    def care(self) -> Care:
        """How it is watched, as its pipeline takes it."""
        return Care(
            self.deadlines, self.checks, self.hours, self.privacy, self.shed, self.clips, self.sampling
        )


class EngineOptions(Doc):
    """How a model is run. `engine`: `auto` or the name of an engine; `threads`: 0 lets the engine choose; `precision`: empty is the
    package's own, another must pass the golden check."""

    engine: str = "auto"
    threads: int = Field(default=0, ge=0, le=256)
    spinning: bool = False
    max_batch: int = Field(default=8, ge=1, le=256)
    precision: str = Field(default="", max_length=16)


class Model(Doc):
    """A model the device holds ready. Models of one `engine_group` share an engine process."""

    digest: Digest
    engine_group: Name | None = None
    engine: EngineOptions = EngineOptions()


class Workflow(Doc):
    """`skip_cloud_blocks`: blocks of the definition that do not run on a device are passed over and give None; otherwise the
    definition is refused."""

    digest: Digest
    skip_cloud_blocks: bool = False


class EventPolicy(Doc):
    """Which results become events.

    `send`: `every` result, `changes` (only when the outputs differ from those last sent), or `none`.
    `min_interval_s`: at most one event in this time; with `changes` the latest one is sent when the time is over.
    """

    send: Literal["every", "changes", "none"] = "changes"
    min_interval_s: float = Field(default=1.0, ge=0.0, le=86400.0)


class Pipeline(Doc):
    """One camera × one workflow × its models. `models` maps the workflow's `model_id` to a model of this document."""

    camera: Name
    workflow: Name
    models: dict[str, Name] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    events: EventPolicy = EventPolicy()


class Settings(Doc):
    health_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    prepare_deadline_s: float = Field(default=120.0, ge=1.0, le=86400.0)
    update: Update = Update()
    connection: Reach | None = None


class Release(Doc):
    """The agent's own release: the digest of a manifest of wheels, or the one `installed` with the system. An older one than what runs
    is taken with `allow_downgrade` only."""

    digest: Digest | None = None
    installed: bool = False
    allow_downgrade: bool = False

    @model_validator(mode="after")
    def _one(self) -> Release:
        if (self.digest is None) is not self.installed:
            raise ValueError("either a digest, or installed: true")
        return self


class Desired(Doc):
    """The whole desired state of one device."""

    device: Name
    revision: int = Field(ge=1, le=2**53)
    issued_at: float
    expires_at: float | None = None
    cameras: dict[Name, Camera] = Field(default_factory=dict)
    models: dict[Name, Model] = Field(default_factory=dict)
    workflows: dict[Name, Workflow] = Field(default_factory=dict)
    pipelines: dict[Name, Pipeline] = Field(default_factory=dict)
    schedules: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    secrets: dict[Name, str] = Field(default_factory=dict, max_length=256)
    """Name → a secret sealed to the device (`wire.sealed`)."""
    settings: Settings = Settings()
    agent: Release | None = None
    """The release the agent is to run; without one it stays what it is."""

    @property
    def digests(self) -> frozenset[str]:
        """Every artifact this state needs on the device."""
        objects = [m.digest for m in self.models.values()] + [w.digest for w in self.workflows.values()]
        return frozenset(objects + ([self.agent.digest] if self.agent and self.agent.digest else []))


def problems(desired: Desired) -> list[Problem]:
    """Everything in the document that makes no sense: names that point nowhere, a camera used twice."""
    found = [
        Problem(
            f"cameras.{name}.source",
            Reason.CAMERA_SOURCE_INVALID,
            f"{redact(camera.source)!r} is of no known form",
            expected=source.EXPECTED,
        )
        for name, camera in desired.cameras.items()
        if source.kind_of(camera.source) is None
    ]
    found += _window_problems(desired.settings.update)
    for name, camera in desired.cameras.items():
        if faces := camera.privacy.faces:
            found += _reference(f"cameras.{name}.privacy.faces", faces, desired.models, "model")
        if camera.sampling.on and camera.privacy.pictures != "fleet":
            found.append(
                Problem(
                    f"cameras.{name}.sampling",
                    Reason.PICTURE_WITHHELD,
                    f"takes pictures for the fleet, and privacy.pictures is {camera.privacy.pictures!r}",
                    expected="privacy.pictures fleet, or no sampling",
                    remedy="a picture leaves a device only under a policy that says so",
                )
            )
    taken: dict[str, str] = {}
    for name, pipeline in desired.pipelines.items():
        at = f"pipelines.{name}"
        found += _reference(f"{at}.camera", pipeline.camera, desired.cameras, "camera")
        found += _reference(f"{at}.workflow", pipeline.workflow, desired.workflows, "workflow")
        for model_id, model in pipeline.models.items():
            found += _reference(f"{at}.models.{model_id}", model, desired.models, "model")
        if (other := taken.setdefault(pipeline.camera, name)) != name:
            found.append(
                Problem(
                    f"{at}.camera",
                    Reason.INVALID_FIELD,
                    f"camera {pipeline.camera!r} already belongs to pipeline {other!r}",
                    expected="one pipeline per camera",
                    remedy="join the two workflows, or define the camera twice",
                )
            )
    return found


def _window_problems(update: Update) -> Iterable[Problem]:
    for index, window in enumerate(update.windows):
        at = f"settings.update.windows.{index}"
        plain = window.to_json()
        try:
            windows.check(plain)
        except ValueError as e:
            yield Problem(at, Reason.INVALID_FIELD, str(e))
            continue
        if update.jitter_s >= windows.length_s(plain):
            yield Problem(
                at,
                Reason.INVALID_FIELD,
                f"is open for {windows.length_s(plain):.0f} s, and jitter_s is {update.jitter_s:.0f}",
                expected="a jitter shorter than each window",
            )


def _reference(path: str, name: str, known: Mapping[str, object], kind: str) -> Iterable[Problem]:
    if name in known:
        return
    yield Problem(
        path,
        Reason.UNKNOWN_REFERENCE,
        f"no {kind} is called {name!r}",
        expected=f"one of {sorted(known)}" if known else f"a {kind} in {kind}s",
        remedy=nearest(name, known) or f"define it under {kind}s",
    )


def check(desired: Desired) -> Desired:
    """The document itself, when it makes sense.

    :raises Refused: with every problem
    """
    if found := problems(desired):
        raise Refused(
            f"desired state has {len(found)} problem(s): " + "; ".join(map(str, found)),
            found[0].reason,
            found,
        )
    return desired


def parse(document: object) -> Desired:
    """Read and check a document.

    :raises Refused: with every problem
    """
    return check(read(Desired, document))


def sign(desired: Desired, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The signed form, as it is published."""
    return dsse.sign(desired.to_json(), PAYLOAD_TYPE, key)


def open_signed(
    envelope: object, keys: dsse.PublicKeys, *, device: str, above_revision: int, at_wall: float | None
) -> Desired:
    """Verify and read a signed desired state.

    `above_revision` is the highest revision seen so far; `at_wall` is the time in seconds since the epoch, or None where the
    device's clock is not synchronised and expiry cannot be judged.

    :raises Malformed: no signed document
    :raises NotTrusted: signature, device, revision or expiry do not hold
    :raises Refused: the document makes no sense, with every problem
    """
    document = dsse.verify(envelope, PAYLOAD_TYPE, keys)
    if document.get("device") != device:
        raise NotTrusted(
            f"document for device {document.get('device')!r}; this is {device!r}", Reason.WRONG_DEVICE
        )
    desired = read(Desired, document)
    if desired.revision <= above_revision:
        raise NotTrusted(f"revision {desired.revision} is not above {above_revision}", Reason.REVISION_OLD)
    if at_wall is not None and desired.expires_at is not None and at_wall > desired.expires_at:
        raise NotTrusted(
            f"revision {desired.revision} expired {at_wall - desired.expires_at:.0f} s ago", Reason.EXPIRED
        )
    return check(desired)
