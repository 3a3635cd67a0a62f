"""Who plays in a demo: the camera, the workflow, the two versions of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from outrider.demo.packages import Version, golden_frame, prepare
from wire.source import Kind, kind_of

GENERIC_WORKFLOW = Path(__file__).with_name("workflow.json")


@dataclass(frozen=True)
class Cast:
    """`send`: which results become events. `truth`: the clip's truth as JSON, where it is known. `shown`: outputs told each
    second, all where it is empty."""

    source: str
    pace: str
    loop: bool
    workflow: Path
    model_id: str
    versions: tuple[Version, Version]
    send: str = "changes"
    truth: Path | None = None
    shown: tuple[str, ...] = ()


def own(source: str, model: Path, other: Path | None, labels: str, loop: bool, into: Path) -> Cast:
    """The user's own camera and model, counted by class.

    :raises DemoFailed: a model cannot be packed
    """
    versions = prepare(model, other, golden_frame(source, into), labels, into)
    source, pace = played(source)
    return Cast(source, pace, loop, GENERIC_WORKFLOW, "demo/1", versions)


def played(source: str) -> tuple[str, str]:
    """A source and its pace: a file is played as a camera would be, so that the newest frame wins."""
    if kind_of(source) is Kind.FILE:
        return str(Path(source.removeprefix("file://")).expanduser().resolve()), "live"
    return source, ""
