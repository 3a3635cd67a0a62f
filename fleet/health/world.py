"""What is known of the fleet, in memory, as faults are decided by it: presence, sites, signs, where cameras are. Pure but for its memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.health.decision import Key, Seen, Subject
from fleet.health.faults import BY_CODE, Scope
from fleet.health.groups import FEWEST, camera_groups, site_signs
from fleet.health.signs import Sign

OFFLINE, SILENT, NEVER = "offline", "silent", "never"
AWAY = {OFFLINE: "device-offline", SILENT: "device-silent"}
LOST = "camera-unreachable"


@dataclass(frozen=True)
class Known:
    """A device in service."""

    presence: str
    site: str = ""

    @property
    def away(self) -> bool:
        return self.presence in AWAY


def device_subject(device: str) -> Subject:
    return Subject(Scope.DEVICE.value, device=device)


class World:
    """`seen` is what `decision.decide` wants. `changed` says whether anything has since it was last asked for."""

    def __init__(self) -> None:
        self.devices: dict[str, Known] = {}
        self.places: dict[str, dict[str, tuple[str, str]]] = {}
        self.changed = True
        self._signs: dict[str, dict[str, tuple[Sign, ...]]] = {}
        self._seen: dict[str, dict[Key, Seen]] = {}

    def set_devices(self, devices: Mapping[str, Known]) -> None:
        """All devices in service."""
        for device in self.devices.keys() | devices.keys():
            if self.devices.get(device) != devices.get(device):
                self._stale(device)
        self.devices = dict(devices)

    def set_signs(self, device: str, source: str, signs: Iterable[Sign]) -> None:
        former = self._signs.setdefault(device, {})
        given = tuple(signs)
        if former.get(source) != given:
            former[source] = given
            self._stale(device)

    def set_places(self, device: str, places: Mapping[str, tuple[str, str]]) -> None:
        """Where the cameras of a device are: camera → address and subnet."""
        if self.places.get(device) != places:
            self.places[device] = dict(places)
            self._stale(device)

    def several_lost(self) -> set[str]:
        """Devices with several cameras that cannot be reached: it matters where they are."""
        return {
            device
            for device in self._signs
            if device in self.devices and sum(self._lost(device).values()) >= FEWEST
        }

    def seen(self) -> dict[Key, Seen]:
        """What everything shows now."""
        for device, known in self.devices.items():
            if device not in self._seen:
                self._seen[device] = self._of_device(device, known)
        found: dict[Key, Seen] = {}
        for signs in self._seen.values():
            found |= signs
        sites = site_signs({device: (known.site, known.away) for device, known in self.devices.items()})
        for site, shown in sites.items():
            found["site-offline", Subject(Scope.SITE.value, site=site)] = shown
        self.changed = False
        return found

    def above(self, subject: Subject) -> tuple[Subject, ...]:
        """What a subject is part of, the nearest first."""
        device = subject.device
        if not device:
            return ()
        host, subnet = "", ""
        if subject.scope == Scope.CAMERA.value:
            host, subnet = self.places.get(device, {}).get(subject.part, ("", ""))
        elif subject.scope == Scope.HOST.value:
            subnet = next(
                (net for addr, net in self.places.get(device, {}).values() if addr == subject.part), ""
            )
        found = [Subject(Scope.HOST.value, device=device, part=host)] if host else []
        found += [Subject(Scope.NETWORK.value, device=device, part=subnet)] if subnet else []
        if subject.scope == Scope.CAMERA.value:
            found += self._failed_models(device)
        if subject.scope != Scope.DEVICE.value:
            found.append(device_subject(device))
        site = self.site_of(device)
        return (*found, *([Subject(Scope.SITE.value, site=site)] if site else []))

    def site_of(self, device: str) -> str:
        known = self.devices.get(device)
        return known.site if known else ""

    def _stale(self, device: str) -> None:
        self._seen.pop(device, None)
        self.changed = True

    def _failed_models(self, device: str) -> list[Subject]:
        return sorted(subject for code, subject in self._seen.get(device, {}) if code == "model-failed")

    def _lost(self, device: str) -> dict[str, bool]:
        """Camera → whether it is known not to be reached; those that give frames are absent."""
        found: dict[str, bool] = {}
        for signs in self._signs.get(device, {}).values():
            found |= {sign.part: sign.on for sign in signs if sign.code == LOST}
        return found

    def _of_device(self, device: str, known: Known) -> dict[Key, Seen]:
        found: dict[Key, Seen] = {}
        for signs in self._signs.get(device, {}).values():
            for sign in signs:
                kind = BY_CODE.get(sign.code)
                if kind is None:
                    continue
                part = "" if kind.scope is Scope.DEVICE else sign.part
                key = sign.code, Subject(kind.scope.value, device=device, part=part)
                if sign.on or key not in found:
                    found[key] = Seen(sign.on, sign.message)
        found |= self._groups(device)
        if known.away:  # what it said last is all that is known: nothing new, and nothing over
            found = {key: Seen(False, shown.message) for key, shown in found.items()}
            found[AWAY[known.presence], device_subject(device)] = Seen()
        elif known.presence == NEVER:
            found["device-never-seen", device_subject(device)] = Seen()
        return found

    def _groups(self, device: str) -> dict[Key, Seen]:
        hosts, subnets = camera_groups(self.places.get(device, {}), self._lost(device))
        lost = {
            ("recorder-lost", Subject(Scope.HOST.value, device=device, part=host)): shown
            for host, shown in hosts.items()
        }
        return lost | {
            ("network-lost", Subject(Scope.NETWORK.value, device=device, part=subnet)): shown
            for subnet, shown in subnets.items()
        }
