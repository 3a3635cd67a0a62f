"""MQTT topics: `outrider/1/<fleet>/<device>/…`.

The order fleet, device comes first so that one broker rule keeps a device to its own topics.
"""

from __future__ import annotations

from dataclasses import dataclass

from wire.errors import Malformed
from wire.names import DeviceId, FleetId, is_name

ROOT = "outrider/1"


@dataclass(frozen=True)
class DeviceTopics:
    """The topics of one device."""

    fleet: FleetId
    device: DeviceId

    def __post_init__(self) -> None:
        for part in (self.fleet, self.device):
            if not is_name(part):
                raise Malformed(f"{part!r} cannot stand in a topic; use letters, digits, '.', '_' and '-'")

    @property
    def base(self) -> str:
        return f"{ROOT}/{self.fleet}/{self.device}"

    @property
    def conn(self) -> str:
        return f"{self.base}/conn"

    @property
    def desired(self) -> str:
        return f"{self.base}/desired"

    @property
    def reported(self) -> str:
        return f"{self.base}/reported"

    @property
    def health(self) -> str:
        return f"{self.base}/health"

    def event(self, camera: str) -> str:
        return f"{self.base}/event/{camera}"

    def data(self, topic: str) -> str:
        """What a workflow publishes, as it is, without an envelope."""
        return f"{self.base}/data/{topic}"

    def command(self, name: str) -> str:
        return f"{self.base}/cmd/{name}"

    @property
    def commands(self) -> str:
        """The subscription that takes every command."""
        return f"{self.base}/cmd/+"

    def response(self, request_id: str) -> str:
        return f"{self.base}/rsp/{request_id}"


@dataclass(frozen=True)
class Parsed:
    """A topic taken apart: `kind` is conn, desired, reported, health, event, cmd or rsp; `tail` what follows it."""

    fleet: FleetId
    device: DeviceId
    kind: str
    tail: str


def parse(topic: str) -> Parsed:
    """Take a topic apart.

    :raises Malformed: not one of ours
    """
    parts = topic.split("/")
    if len(parts) < 5 or "/".join(parts[:2]) != ROOT or not (is_name(parts[2]) and is_name(parts[3])):
        raise Malformed(f"topic {topic!r} is not of the form {ROOT}/<fleet>/<device>/<kind>")
    return Parsed(FleetId(parts[2]), DeviceId(parts[3]), parts[4], "/".join(parts[5:]))


SHARE = "$share/outrider/"
"""The prefix of a shared subscription: each message goes to one of those who have it (MQTT 5.0, 4.8.2)."""


def fleet_subscriptions(fleet: FleetId, *, shared: bool = False) -> tuple[str, ...]:
    """What the control plane's ingest subscribes to: everything that goes up.

    `shared` is for several replicas: events and health go to one of them. Of the rest every replica needs all: presence and reported
    states, because only who has seen all of them knows the last; responses, because one replica waits for each.
    """
    prefix = SHARE if shared else ""
    everybody = [f"{ROOT}/{fleet}/+/{kind}" for kind in ("conn", "reported", "rsp/+")]
    return (*everybody, *(f"{prefix}{ROOT}/{fleet}/+/{kind}" for kind in ("health", "event/+")))
