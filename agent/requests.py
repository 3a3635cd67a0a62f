"""What the device does when the control plane asks: the small commands, each a function from arguments to a result."""

from __future__ import annotations

from typing import Any

from agent.clock import Clock
from agent.commands import Handler
from agent.device import Device
from agent.errors import Refused
from agent.health.report import HealthReport
from agent.outgoing import Outgoing
from agent.snapshots import fleet_snapshot
from agent.twin import Twin
from agent.update.updater import Updater
from wire.reasons import Reason


class Requests:
    """To be used on the loop's thread."""

    def __init__(
        self,
        device: Device,
        updater: Updater,
        twin: Twin,
        health: HealthReport,
        out: Outgoing,
        clock: Clock,
        agent_version: str,
    ) -> None:
        self._device = device
        self._updater = updater
        self._twin = twin
        self._health = health
        self._out = out
        self._clock = clock
        self._version = agent_version

    def handlers(self) -> dict[str, Handler]:
        """Command → what carries it out."""
        return {
            "ping": self._ping,
            "report": self._report,
            "restart-camera": self._restart_camera,
            "update-cancel": self._cancel,
            "quarantine-clear": self._clear_quarantine,
            "snapshot": lambda arguments: fleet_snapshot(self._device, arguments),
        }

    def _ping(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"agent_version": self._version, "at_wall": self._clock.wall()}

    def _report(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self._out.health(self._health.read())
        self._twin.tell(again=True)
        return {"revision": self._updater.status.revision}

    def _cancel(self, arguments: dict[str, Any]) -> dict[str, Any]:
        revision = arguments.get("revision")
        if revision is not None and (not isinstance(revision, int) or isinstance(revision, bool)):
            raise Refused(Reason.INVALID_FIELD, "revision: a number is expected")
        return {"revision": self._updater.cancel(revision)}

    def _clear_quarantine(self, arguments: dict[str, Any]) -> dict[str, Any]:
        digests = arguments.get("digests")
        if isinstance(digests, str):
            digests = [digests]
        if digests is not None and not (
            isinstance(digests, list) and all(isinstance(d, str) for d in digests)
        ):
            raise Refused(Reason.INVALID_FIELD, "digests: a list of digests, or nothing for all")
        return {"cleared": self._updater.clear_quarantine(digests)}

    def _restart_camera(self, arguments: dict[str, Any]) -> dict[str, Any]:
        camera = arguments.get("camera")
        unit = self._device.pipeline_of(camera) if isinstance(camera, str) else None
        if unit is None:
            known = sorted(unit.spec.camera.name for unit in self._device.pipelines.values())
            raise Refused(Reason.UNKNOWN_REFERENCE, f"no camera is called {camera!r}; running are {known}")
        unit.keeper.restart("restart-camera was asked for")
        return {"camera": camera}
