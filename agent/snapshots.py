"""A picture for the control plane: small enough for one message, and only where the camera's privacy policy lets it go."""

from __future__ import annotations

import base64
import logging
from typing import Any

from agent.device import Device
from agent.errors import Degraded, Refused
from wire.reasons import Reason

log = logging.getLogger(__name__)

MOST_BASE64_BYTES = 200 * 1024
"""With its envelope, below the 256 KiB of a message."""
WIDTHS_PX = (1280, 960, 640, 480, 320)


async def fleet_snapshot(device: Device, arguments: dict[str, Any]) -> dict[str, Any]:
    """`{jpeg, max_width_px, frame_wh}`: the picture in base64, as wide as fits and as asked for at most, and the size of the camera's
    own frame in pixels.

    :raises Refused: an argument is wrong
    :raises Degraded: there is no picture, or none may leave
    """
    camera = arguments.get("camera")
    unit = device.pipeline_of(camera) if isinstance(camera, str) else None
    if unit is None:
        known = sorted(each.spec.camera.name for each in device.pipelines.values())
        raise Refused(Reason.UNKNOWN_REFERENCE, f"no camera is called {camera!r}; running are {known}")
    most = arguments.get("max_width_px", WIDTHS_PX[0])
    if isinstance(most, bool) or not isinstance(most, int) or most < 16:
        raise Refused(Reason.INVALID_FIELD, f"max_width_px {most!r} cannot be used; expected 16 or more")
    annotated = bool(arguments.get("annotated", True))
    log.info("snapshot for the fleet", extra={"camera": camera})
    for width in [most, *(width for width in WIDTHS_PX if width < most)]:
        picture = await unit.snapshot(annotated=annotated, max_width_px=min(most, width), purpose="fleet")
        text = base64.b64encode(picture.jpeg).decode()
        if len(text) <= MOST_BASE64_BYTES:
            return {"jpeg": text, "max_width_px": width, "frame_wh": list(picture.frame_wh)}
    raise Degraded(Reason.TOO_LARGE, f"the picture does not fit a message of {MOST_BASE64_BYTES} bytes")
