"""What the agent tells a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wire.camera import Care
from wire.local.register import message


@dataclass(frozen=True)
class CameraSource:
    """A camera as the pipeline opens it. The fields are those of `wire.desired.Camera`; `pace` is resolved."""

    name: str
    source: str
    pace: str
    fps: float = 0.0
    loop: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    care: Care = field(default_factory=Care)


@dataclass(frozen=True)
class ModelBinding:
    """A model a workflow uses: the package's name and digest, and the UNIX socket of the engine process that serves it."""

    name: str
    digest: str
    socket: str


FACES = "@faces"
"""The id under which a binding has the model of the camera's `privacy.faces`; no workflow can use it."""


@dataclass(frozen=True)
class Binding:
    """All that a swap replaces at once. `models` is keyed by the workflow's `model_id`. `skip_cloud_blocks`: blocks that do not
    run on a device are passed over."""

    revision: int
    workflow: str
    workflow_digest: str
    workflow_path: str
    models: dict[str, ModelBinding] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    send: str = "changes"
    min_interval_s: float = 1.0
    skip_cloud_blocks: bool = False


@message("start")
@dataclass(frozen=True)
class Start:
    """First message to a pipeline. `run_dir` is for snapshots. `allow_code`: the device's own configuration file lets Python run
    that a definition brings. `files_dir`: below it sinks write files; `secrets_dir`: the device's secrets, one a file;
    `fleet_secrets_dir`: those of the desired state, for names that are not there."""

    pipeline: str
    camera: CameraSource
    binding: Binding
    run_dir: str
    allow_code: bool = False
    files_dir: str = ""
    secrets_dir: str = ""
    fleet_secrets_dir: str = ""


@message("prepare")
@dataclass(frozen=True)
class Prepare:
    """Attach to the engines and compile the workflow, off to the side; answer Prepared or NotPrepared."""

    ticket: str
    binding: Binding


@message("commit")
@dataclass(frozen=True)
class Commit:
    """Switch to the prepared binding between two frames; answer Switched."""

    ticket: str


@message("abandon")
@dataclass(frozen=True)
class Abandon:
    """Forget the prepared binding."""

    ticket: str


@message("events-kept")
@dataclass(frozen=True)
class EventsKept:
    """The agent has committed every event up to and including this number."""

    number: int


@message("take-snapshot")
@dataclass(frozen=True)
class TakeSnapshot:
    """Write the newest frame as JPEG, annotated where asked; answer SnapshotTaken. `purpose`: who gets it, device or fleet."""

    rid: str
    annotated: bool = True
    max_width_px: int = 1280
    purpose: str = "device"


@message("take-clip")
@dataclass(frozen=True)
class TakeClip:
    """Write a clip of the last seconds; answer ClipTaken. `purpose`: who gets it, device or fleet."""

    rid: str
    seconds: float
    purpose: str = "device"


@message("relieve")
@dataclass(frozen=True)
class Relieve:
    """The device is under stress: work on at most this share of the camera's frames, 1 for all; `reason` is why."""

    share: float
    reason: str = ""


@message("stop")
@dataclass(frozen=True)
class Stop:
    """End in good order."""
