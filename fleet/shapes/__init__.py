"""What the API answers, as types: the server builds them, the OpenAPI document describes them, the client returns them.

Times are seconds since the epoch, on the control plane's clock unless the name says otherwise.
"""

from __future__ import annotations

from fleet.shapes.devices import (
    BenchmarkView,
    ClipView,
    CommandAnswer,
    DesiredSet,
    DesiredView,
    DeviceDetail,
    DeviceView,
    EventList,
    EventPage,
    EventView,
    HealthPoint,
    LabelsView,
    SecretView,
)
from fleet.shapes.pages import Page, ProblemDocument, ProblemPlace
from fleet.shapes.people import (
    ApiTokenView,
    AuditHeadView,
    AuditView,
    BindingView,
    EnrolmentTokenView,
    NewApiTokenView,
    NewEnrolmentTokenView,
    SessionView,
    SignInWays,
    UserView,
)
from fleet.shapes.plane import BrokerHealth, IngestHealth, PlaneHealth, ReplicaHealth
from fleet.shapes.registry import (
    AliasView,
    Collectable,
    CollectionPlan,
    FieldChange,
    PartChange,
    PartsDiff,
    UploadedVersion,
    UseView,
    VersionView,
    WorkflowDiff,
)
from fleet.shapes.rollouts import RolloutDetail, RolloutMemberView, RolloutNoteView, RolloutView

__all__ = [
    "AliasView",
    "ApiTokenView",
    "AuditHeadView",
    "AuditView",
    "BenchmarkView",
    "BindingView",
    "BrokerHealth",
    "ClipView",
    "Collectable",
    "CollectionPlan",
    "CommandAnswer",
    "DesiredSet",
    "DesiredView",
    "DeviceDetail",
    "DeviceView",
    "EnrolmentTokenView",
    "EventList",
    "EventPage",
    "EventView",
    "FieldChange",
    "HealthPoint",
    "IngestHealth",
    "LabelsView",
    "NewApiTokenView",
    "NewEnrolmentTokenView",
    "Page",
    "PartChange",
    "PartsDiff",
    "PlaneHealth",
    "ProblemDocument",
    "ProblemPlace",
    "ReplicaHealth",
    "RolloutDetail",
    "RolloutMemberView",
    "RolloutNoteView",
    "RolloutView",
    "SecretView",
    "SessionView",
    "SignInWays",
    "UploadedVersion",
    "UseView",
    "UserView",
    "VersionView",
    "WorkflowDiff",
]
