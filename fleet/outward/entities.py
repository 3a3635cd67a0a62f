"""Documents of Home Assistant's MQTT discovery, and the states they read. Pure.

A device of ours is a device there; each of its cameras is another one, reached by way of it. All documents of a device are one message
(`homeassistant/device/ID/config`, since Home Assistant 2024.11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.outward.look import Camera, Sighting, Value

ONLINE, OFFLINE = "online", "offline"
SUPPORT = "https://www.home-assistant.io/integrations/mqtt/"
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_WRITTEN = str.maketrans({"_": "__", ".": "_d", "-": "_h"})

Document = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Topics. `base`: below it are states."""

    fleet: str
    prefix: str
    base: str

    @property
    def status(self) -> str:
        """The bridge's own, its last will."""
        return f"{self.base}/{self.fleet}/status"

    def here(self, device: str) -> str:
        return f"{self.base}/{self.fleet}/{device}/availability"

    def state(self, device: str, camera: str = "") -> str:
        return "/".join(filter(None, (self.base, self.fleet, device, camera, "state")))

    def picture(self, device: str, camera: str) -> str:
        return f"{self.base}/{self.fleet}/{device}/{camera}/picture"

    def config(self, device: str, camera: str = "") -> str:
        return f"{self.prefix}/device/{unique(self.fleet, device, camera)}/config"


@dataclass
class Outputs:
    """The newest outputs of a camera, by name."""

    values: dict[str, Value] = field(default_factory=dict)


def unique(fleet: str, *parts: str) -> str:
    """An id of Home Assistant: letters, digits, `_` and `-`. What stands in names beside those is written with `_`, so that two never
    become one, and `-` is between parts alone."""
    return "-".join(["outrider", *(part.translate(_WRITTEN) for part in (fleet, *parts) if part)])


def of_device(places: Places, seen: Sighting, version: str) -> Document:
    """The discovery document of a device."""
    own = unique(places.fleet, seen.name)
    area = seen.labels.get("area") or seen.labels.get("site")
    about = {
        "identifiers": [own],
        "name": seen.name,
        "manufacturer": "Outrider",
        "model": seen.model or "edge device",
        **({"sw_version": seen.agent_version} if seen.agent_version else {}),
        **({"suggested_area": area} if area else {}),
    }
    parts = {
        "fault": _binary("Fault", "problem", "{{ 'ON' if value_json.fault else 'OFF' }}"),
        "cameras": _sensor("Cameras watching", "{{ value_json.watching }}", unit=None),
        "temperature": _sensor("Temperature", _host("temperature_celsius"), unit="°C", kind="temperature"),
        "processor": _sensor("Processor", _host("cpu_percent"), unit="%"),
        "disk": _sensor("Disk free", _host("disk_free_bytes"), unit="B", kind="data_size"),
        "waiting": _sensor("Messages waiting", _host("outbox_rows"), unit=None),
        "revision": _sensor("Revision", "{{ value_json.revision }}", unit=None, measured=False),
    }
    for part in parts.values():
        part["entity_category"] = "diagnostic"
    return _document(places, seen.name, own, about, parts, places.state(seen.name), version)


def of_camera(
    places: Places,
    seen: Sighting,
    camera: Camera,
    outputs: Mapping[str, Value],
    version: str,
    *,
    picture: bool,
) -> Document:
    """The discovery document of a camera, with an entity for each output."""
    own = unique(places.fleet, seen.name, camera.name)
    area = seen.labels.get("area") or seen.labels.get("site")
    about = {
        "identifiers": [own],
        "name": f"{seen.name} {camera.name}",
        "manufacturer": "Outrider",
        "model": "camera",
        "via_device": unique(places.fleet, seen.name),
        **({"suggested_area": area} if area else {}),
    }
    parts = {
        "watching": _binary(
            "Watching", "running", "{{ 'ON' if value_json.state == 'streaming' else 'OFF' }}"
        ),
        "fault": {
            **_binary("Fault", "problem", "{{ 'ON' if value_json.faults else 'OFF' }}"),
            "json_attributes_topic": places.state(seen.name, camera.name),
            "json_attributes_template": "{{ {'reasons': value_json.faults} | tojson }}",
        },
        "rate": _sensor("Results", "{{ value_json.fps }}", unit="1/s"),
        "blind": _sensor(
            "Blind in the last hour", "{{ value_json.blind_hour_s }}", unit="s", kind="duration"
        ),
    }
    for name in ("rate", "blind"):
        parts[name]["entity_category"] = "diagnostic"
    for name, value in outputs.items():
        parts[f"output-{_OTHER.sub('_', name)}"] = _output(name, value)
    if picture:
        parts["picture"] = {
            "platform": "camera",
            "name": "Picture",
            "topic": places.picture(seen.name, camera.name),
        }
    return _document(places, seen.name, own, about, parts, places.state(seen.name, camera.name), version)


def state_of_device(seen: Sighting) -> Document:
    return {
        "present": seen.present,
        "revision": seen.revision,
        "fault": any(camera.faults for camera in seen.cameras),
        "watching": sum(camera.state == "streaming" for camera in seen.cameras),
        "host": dict(seen.host),
    }


def state_of_camera(camera: Camera, outputs: Mapping[str, Value]) -> Document:
    return {
        "state": camera.state,
        "fps": camera.fps,
        "blind_hour_s": camera.blind_hour_s,
        "faults": list(camera.faults),
        "outputs": dict(outputs),
    }


def _document(
    places: Places,
    device: str,
    own: str,
    about: Document,
    parts: Mapping[str, Document],
    state: str,
    version: str,
) -> Document:
    return {
        "device": about,
        "origin": {"name": "outrider", "sw_version": version, "support_url": SUPPORT},
        "availability": [{"topic": places.status}, {"topic": places.here(device)}],
        "availability_mode": "all",
        "state_topic": state,
        "components": dict(_parts(own, parts)),
    }


def _parts(own: str, parts: Mapping[str, Document]) -> Iterator[tuple[str, Document]]:
    for name, part in parts.items():
        yield name, {**part, "unique_id": f"{own}-{name}"}


def _binary(name: str, kind: str | None, template: str) -> Document:
    told = {"platform": "binary_sensor", "name": name, "value_template": template}
    return {**told, **({"device_class": kind} if kind else {})}


def _sensor(
    name: str, template: str, *, unit: str | None, kind: str | None = None, measured: bool = True
) -> Document:
    return {
        "platform": "sensor",
        "name": name,
        "value_template": template,
        **({"unit_of_measurement": unit} if unit else {}),
        **({"device_class": kind} if kind else {}),
        **({"state_class": "measurement"} if measured else {}),
    }


def _output(name: str, value: Value) -> Document:
    """The name is of letters, digits and `_.:-`, so that it can stand in a template."""
    path = f"value_json.outputs['{name}']"
    if isinstance(value, bool):
        return _binary(name, None, f"{{{{ 'ON' if {path} else 'OFF' }}}}")
    measured = not isinstance(value, str)
    return _sensor(name, f"{{{{ {path} | default(none) }}}}", unit=None, measured=measured)


def _host(name: str) -> str:
    return f"{{{{ value_json.host['{name}'] | default(none) }}}}"
