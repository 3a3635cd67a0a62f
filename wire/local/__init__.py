"""Messages between the agent and its children, one JSON object a line over an inherited UNIX stream socket.

Both ends are always of the same version, so these are plain dataclasses: an unknown kind or field is an error. Nothing
heavy is imported here, because a pipeline process pays for every megabyte. Times named `*_mono` are seconds of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from wire.local.codec import MAX_LINE_BYTES, Lines, Message, decode, encode
from wire.local.compare import Compare, Compared, EndCompare, Likeness
from wire.local.engine import (
    EngineModel,
    EnginePhase,
    EngineRefused,
    EngineStats,
    EngineUp,
    Load,
    Unload,
)
from wire.local.oneshot import (
    BenchResult,
    CheckResult,
)
from wire.local.orders import (
    Abandon,
    Binding,
    CameraSource,
    Commit,
    EventsKept,
    ModelBinding,
    Prepare,
    Relieve,
    Start,
    Stop,
    TakeSnapshot,
)
from wire.local.pipeline import (
    BrokerAddress,
    CameraState,
    Drained,
    Event,
    NotPrepared,
    PictureFault,
    PictureState,
    PipelineStats,
    PipelineUp,
    Prepared,
    Publication,
    Sight,
    SinkStats,
    SnapshotTaken,
    StepStats,
    Switched,
)

__all__ = [
    "MAX_LINE_BYTES",
    "Abandon",
    "BenchResult",
    "Binding",
    "BrokerAddress",
    "CameraSource",
    "CameraState",
    "CheckResult",
    "Commit",
    "Compare",
    "Compared",
    "Drained",
    "EndCompare",
    "EngineModel",
    "EnginePhase",
    "EngineRefused",
    "EngineStats",
    "EngineUp",
    "Event",
    "EventsKept",
    "Likeness",
    "Lines",
    "Load",
    "Message",
    "ModelBinding",
    "NotPrepared",
    "PictureFault",
    "PictureState",
    "PipelineStats",
    "PipelineUp",
    "Prepare",
    "Prepared",
    "Publication",
    "Relieve",
    "Sight",
    "SinkStats",
    "SnapshotTaken",
    "Start",
    "StepStats",
    "Stop",
    "Switched",
    "TakeSnapshot",
    "Unload",
    "decode",
    "encode",
]
