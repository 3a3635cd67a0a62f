"""Who plays in a demo: the camera, the workflow, the two versions of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from outrider.demo.packages import Version, golden_frame, prepare
from wire.source import Kind, kind_of

GENERIC_WORKFLOW = Path(__file__).with_name("workflow.json")


@dataclass(frozen=True)
class Cast:
    """`send`: which results become events. `truth`: the clip's truth as JSON, where it is known."""

    source: str
    pace: str
    loop: bool
    workflow: Path
    model_id: str
    versions: tuple[Version, Version]
    send: str = "changes"
    truth: Path | None = None


def own(source: str, model: Path, other: Path | None, labels: str, loop: bool, into: Path) -> Cast:
    """The user's own camera and model, counted by class.

    :raises DemoFailed: a model cannot be packed
    """
    versions = prepare(model, other, golden_frame(source, into), labels, into)
    pace = ""
    if kind_of(source) is Kind.FILE:
        # A file is played as a camera would be: the newest frame wins.
        pace, source = "live", str(Path(source.removeprefix("file://")).expanduser().resolve())
    return Cast(source, pace, loop, GENERIC_WORKFLOW, "demo/1", versions)
