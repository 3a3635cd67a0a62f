"""Every fault there is: whom it is about, how bad it is, what it follows from, when it is told, and what to do. The one list.

A code is stable for ever. `docs/health.md` has the same list, which a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """CRITICAL: something is not watched, somebody has to act. WARNING: it will come to that. INFO: good to know."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Scope(str, Enum):
    """What a fault is about. NETWORK and HOST are cameras of one device that share a subnet or an address (a recorder)."""

    SITE = "site"
    DEVICE = "device"
    NETWORK = "network"
    HOST = "host"
    MODEL = "model"
    WORKFLOW = "workflow"
    CAMERA = "camera"


@dataclass(frozen=True)
class Kind:
    """A kind of fault. `depends_on`: codes that explain it; where one of them is there, this one is its consequence. It is told once it has
    been there for `visible_s`, and is over once it has been away for `clear_s`."""

    code: str
    scope: Scope
    severity: Severity
    visible_s: float
    clear_s: float
    text: str
    remedy: str
    depends_on: tuple[str, ...] = ()


AWAY = ("device-offline", "device-silent", "site-offline")
LOST = ("recorder-lost", "network-lost", *AWAY)
STOPPED = ("pipeline-failed", "model-failed", *AWAY)
_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO

KINDS = (
    Kind(
        "site-offline", Scope.SITE, _C, 60, 30,
        "Nine in ten or more of the site's devices are away.",
        "Check the site's power, switch and uplink.",
    ),
    Kind(
        "device-offline", Scope.DEVICE, _C, 90, 15,
        "The device has left the broker, or its connection broke.",
        "Check its power and network; `outrider agent doctor` on the device says the rest.",
        ("site-offline",),
    ),
    Kind(
        "device-silent", Scope.DEVICE, _C, 0, 0,
        "The device says it is there and has told nothing for four health periods.",
        "Look at the agent's log on the device; restart the service where it hangs.",
        ("site-offline",),
    ),
    Kind(
        "device-never-seen", Scope.DEVICE, _I, 3600, 0,
        "The device has been enrolled and never came.",
        "Start the agent; check that the broker's port can be reached from there.",
    ),
    Kind(
        "network-lost", Scope.NETWORK, _C, 20, 15,
        "No camera of this subnet can be reached from the device: a switch or a cable between them is dead.",
        "Check the switch's power and uplink, and the device's own network socket.",
        AWAY,
    ),
    Kind(
        "recorder-lost", Scope.HOST, _C, 20, 15,
        "No camera behind this address can be reached: the recorder or encoder there is dead.",
        "Check the power and network of the recorder.",
        ("network-lost", *AWAY),
    ),
    Kind(
        "camera-unreachable", Scope.CAMERA, _C, 30, 15,
        "The camera gives no frames.",
        "Check address, cable and power of the camera; the pipeline keeps trying.",
        LOST,
    ),
    Kind(
        "camera-password", Scope.CAMERA, _C, 10, 15,
        "The camera does not accept the user name or password.",
        "Set the secret again: `outrider fleet device secret set`.",
        LOST,
    ),
    Kind(
        "camera-source-invalid", Scope.CAMERA, _C, 0, 0,
        "The camera's source cannot be used.",
        "Correct the camera's source in the desired state.",
        AWAY,
    ),
    Kind(
        "camera-hung", Scope.CAMERA, _C, 60, 60,
        "The decoder or driver of the camera hangs again and again.",
        "Try another decoder (`options.decoder`), or the camera's other stream.",
        LOST,
    ),
    Kind(
        "camera-overrun", Scope.CAMERA, _W, 60, 60,
        "Frames come and all of them are dropped: the device cannot keep up.",
        "Lower the rate, use a smaller model, or move cameras elsewhere.",
        STOPPED,
    ),
    Kind(
        "camera-blind", Scope.CAMERA, _C, 60, 15,
        "The camera's pictures give no results.",
        "The message names the cause; docs/reasons.md says what to do.",
        STOPPED,
    ),
    Kind(
        "picture-frozen", Scope.CAMERA, _C, 30, 30,
        "The picture does not change, or only its clock does.",
        "Restart the camera or its recorder.",
        AWAY,
    ),
    Kind(
        "picture-black", Scope.CAMERA, _C, 60, 30,
        "The picture is black.",
        "Check lens cap, exposure and light, or set active hours.",
        AWAY,
    ),
    Kind(
        "picture-bright", Scope.CAMERA, _W, 120, 60,
        "The picture is over-exposed.",
        "Check the exposure, and whether a light shines into the lens.",
        AWAY,
    ),
    Kind(
        "picture-covered", Scope.CAMERA, _C, 60, 30,
        "Something covers the lens.",
        "Clean or uncover it.",
        AWAY,
    ),
    Kind(
        "picture-blurred", Scope.CAMERA, _W, 300, 60,
        "The picture has lost its sharpness.",
        "Focus or clean the lens.",
        AWAY,
    ),
    Kind(
        "picture-moved", Scope.CAMERA, _W, 60, 30,
        "The camera looks elsewhere than before.",
        "Turn it back, or take the new view by restarting the camera.",
        AWAY,
    ),
    Kind(
        "picture-size", Scope.CAMERA, _W, 30, 15,
        "The picture has another size than it should.",
        "Correct the camera's settings or the camera's `checks`.",
        AWAY,
    ),
    Kind(
        "sink-failing", Scope.CAMERA, _W, 120, 60,
        "A sink of the workflow cannot deliver; what waits is bounded.",
        "The message holds the sink's own words.",
        AWAY,
    ),
    Kind(
        "drift-large", Scope.CAMERA, _W, 0, 0,
        "The model's confidences or classes, or the brightness, are far from those of the reference period.",
        "Look at pictures of the camera; consider re-training with pictures of now.",
        ("picture-black", "picture-bright", "picture-covered", "picture-blurred", "picture-moved"),
    ),
    Kind(
        "pipeline-failed", Scope.CAMERA, _C, 30, 30,
        "The camera's pipeline process does not run.",
        "See the device's log: `outrider fleet device logs`.",
        AWAY,
    ),
    Kind(
        "model-failed", Scope.MODEL, _C, 30, 30,
        "The engine of a model does not run.",
        "The message holds the engine's words; `outrider agent doctor` on the device tells of engines.",
        AWAY,
    ),
    Kind(
        "workflow-failed", Scope.WORKFLOW, _C, 10, 0,
        "A workflow of the desired state cannot run on this device.",
        "Correct it: `outrider workflow check`.",
        AWAY,
    ),
    Kind(
        "update-failed", Scope.DEVICE, _W, 0, 0,
        "The newest desired state was refused or rolled back; the former one runs.",
        "The message says which gate or check; correct it and release again.",
    ),
    Kind(
        "device-throttled", Scope.DEVICE, _W, 120, 120,
        "The device is too hot, at its power limit or overloaded, and works on fewer frames.",
        "Cool it, lower rates, or move cameras elsewhere.",
        AWAY,
    ),
    Kind(
        "device-hot", Scope.DEVICE, _W, 120, 120,
        "The device's temperature is 90 °C or more.",
        "Check fan, dust and the cabinet's ventilation.",
        AWAY,
    ),
    Kind(
        "disk-low", Scope.DEVICE, _W, 60, 60,
        "Less than 5 % of the device's disk is free.",
        "Free some, or remove models that are not used.",
        AWAY,
    ),
    Kind(
        "memory-low", Scope.DEVICE, _W, 300, 120,
        "Less than 5 % of the device's memory is available.",
        "Use smaller models or fewer cameras.",
        AWAY,
    ),
    Kind(
        "outbox-backlog", Scope.DEVICE, _W, 120, 60,
        "More than 5,000 messages wait on the device for the broker.",
        "Check the network's throughput; fewer events, or a wider line.",
        AWAY,
    ),
    Kind(
        "flash-worn", Scope.DEVICE, _I, 3600, 3600,
        "The device writes more than 50 GB a day to its storage.",
        "Look for logs or recordings; clips and events belong on a disk made for it.",
        AWAY,
    ),
    Kind(
        "clock-unset", Scope.DEVICE, _W, 600, 60,
        "The device's clock is not synchronised: times of events are not to be trusted.",
        "Give the device a time server it can reach.",
        AWAY,
    ),
)  # fmt: skip
BY_CODE = {kind.code: kind for kind in KINDS}
