"""An event: the outputs of a workflow on one frame, with where each came from."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wire.doc import Doc


class Event(Doc):
    """`models` maps the workflow's model id to the digest of the package that answered this very frame.

    `frame_wall` is the capture time in seconds since the epoch; `frame_seq` the number of the source frame, from 0.
    """

    camera: str
    pipeline: str
    revision: int
    frame_seq: int
    frame_wall: float
    workflow: str
    models: dict[str, str] = Field(default_factory=dict)
    model_names: dict[str, str] = Field(default_factory=dict)
    outputs: dict[str, Any] = Field(default_factory=dict)
    errors: dict[str, str] = Field(default_factory=dict)
    step: str = ""
    """The sink that sent it; empty where it is the outputs of the whole workflow."""
    picture: dict[str, Any] | None = None
    """`{media_type, width, height, base64}`: sent only where the camera's policy lets pictures reach the fleet."""
    clip: str = ""
    """The id of the clip that belongs to it; the film follows over HTTPS where the policy lets pictures reach the fleet, and stays
    on the device where it does not."""
