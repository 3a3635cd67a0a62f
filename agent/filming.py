"""Clips on request and with events, samples for re-training: what a pipeline has written comes into its store."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from agent.clips import Clip, ClipStore
from agent.clock import Clock
from agent.config import Config
from agent.device import Device
from agent.errors import AgentError, Degraded, Refused
from agent.samples import SampleStore
from wire import local
from wire.reasons import Reason

log = logging.getLogger(__name__)

DEFAULT_S = 10.0
MAX_S = 120.0


class Filming:
    """For the loop's thread."""

    def __init__(self, device: Device, store: ClipStore, samples: SampleStore) -> None:
        self._device = device
        self.store = store
        self.samples = samples
        self._under_way: set[asyncio.Task[None]] = set()
        device.on_taken = self._taken

    def may_leave(self, camera: str) -> bool | None:
        """Whether pictures of a camera may reach the fleet, by its policy as it is now; None where there is no such camera."""
        unit = self._device.pipeline_of(camera)
        return None if unit is None else unit.spec.camera.care.privacy.pictures == "fleet"

    async def take(self, camera: str, seconds: float, *, purpose: str = "device") -> Clip:
        """The last seconds of a camera.

        :raises Degraded: there is no clip, or none may leave
        """
        unit = self._device.pipeline_of(camera)
        if unit is None:
            raise Degraded(Reason.NOT_FOUND, f"no camera is called {camera!r}")
        taken = await unit.clip(seconds, purpose=purpose)
        return await asyncio.to_thread(self.store.adopt, camera, taken)

    async def command(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`{camera, seconds}` → the clip's document; the film itself follows over HTTPS.

        :raises Refused: an argument is wrong
        :raises Degraded: there is no clip, or none may leave
        """
        camera = arguments.get("camera")
        if not isinstance(camera, str) or self._device.pipeline_of(camera) is None:
            known = sorted(each.spec.camera.name for each in self._device.pipelines.values())
            raise Refused(Reason.UNKNOWN_REFERENCE, f"no camera is called {camera!r}; running are {known}")
        log.info("clip for the fleet", extra={"camera": camera})
        clip = await self.take(camera, seconds_of(arguments.get("seconds", DEFAULT_S)), purpose="fleet")
        return {"clip": clip.id, "bytes": clip.bytes, "frames": clip.frames, "media_type": clip.media_type}

    def _taken(self, camera: local.CameraSource, taken: local.Taken) -> None:
        work = (
            self._keep(camera.name, taken)
            if isinstance(taken, local.ClipTaken)
            else self._sample(camera, taken)
        )
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _sample(self, camera: local.CameraSource, taken: local.SampleTaken) -> None:
        try:
            await asyncio.to_thread(self.samples.adopt, camera.name, camera.care.sampling, taken)
        except OSError as e:
            log.warning("a sample is lost", extra={"camera": camera.name, "cause": str(e)})

    async def _keep(self, camera: str, taken: local.ClipTaken) -> None:
        try:
            await asyncio.to_thread(self.store.adopt, camera, taken)
        except AgentError as e:
            log.warning(
                "an event goes without its clip",
                extra={"camera": camera, "clip": taken.rid, "reason": e.reason.value, "cause": str(e)},
            )


def open_filming(device: Device, config: Config, clock: Clock) -> Filming:
    """With what the state directory holds."""
    clips = ClipStore(config.state_dir / "clips", config.limits.clips_bytes)
    return Filming(device, clips, SampleStore(config.state_dir / "samples", clock))


def seconds_of(value: object) -> float:
    """:raises Refused: no number of seconds that can be meant"""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0.0 < seconds <= MAX_S or isinstance(value, bool):
        raise Refused(
            Reason.INVALID_FIELD, f"seconds {value!r} cannot be used; expected a number up to {MAX_S:g}"
        )
    return seconds
