"""Faults of what many have in common: a site whose devices are away, a subnet or an address whose cameras cannot be reached. Pure."""

from __future__ import annotations

import ipaddress
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from fleet.health.decision import Seen

AWAY_SHARE = 0.9
HOST_CHARACTERS = 100
FEWEST = 2
"""One device is no site, one camera no network: its own fault says as much."""


def site_signs(presence: Mapping[str, tuple[str, bool]]) -> dict[str, Seen]:
    """Site → what it shows, of devices with their site and whether they are away."""
    away: defaultdict[str, list[bool]] = defaultdict(list)
    for site, gone in presence.values():
        if site:
            away[site].append(gone)
    return {
        site: Seen(message=f"{sum(devices)} of {len(devices)} devices are away")
        for site, devices in away.items()
        if sum(devices) >= max(FEWEST, math.ceil(AWAY_SHARE * len(devices)))
    }


def places_of(sources: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Camera → (address, subnet) of its source; those without one (a file, a local device) are left out."""
    found = {}
    for camera, source in sources.items():
        host = _host(source)
        if host:
            found[camera] = host, _subnet(host)
    return found


def _host(source: str) -> str:
    try:
        return (urlsplit(source).hostname or "")[:HOST_CHARACTERS] if "://" in source else ""
    except ValueError:
        return ""


def _subnet(host: str) -> str:
    """The /24 or /64 of an address; a name is in none that is known."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{host}/{24 if address.version == 4 else 64}", strict=False))


def camera_groups(
    places: Mapping[str, tuple[str, str]], lost: Mapping[str, bool]
) -> tuple[dict[str, Seen], dict[str, Seen]]:
    """Address → and subnet → what it shows: on where no camera behind it can be reached. `lost`: camera → whether it is known not to be
    reached (True), or nothing is known (False); those that give frames are absent."""
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    subnets: defaultdict[str, set[str]] = defaultdict(set)
    for camera, (host, subnet) in places.items():
        hosts[host].add(camera)
        if subnet:
            subnets[subnet].add(camera)
    several = {net for net, cameras in subnets.items() if len({places[camera][0] for camera in cameras}) > 1}
    return _dead(hosts, hosts.keys(), lost), _dead(subnets, several, lost)


def _dead(groups: Mapping[str, set[str]], wanted: Iterable[str], lost: Mapping[str, bool]) -> dict[str, Seen]:
    found = {}
    for name in wanted:
        cameras = groups[name]
        gone = sum(lost.get(camera, False) for camera in cameras)
        if gone >= FEWEST and cameras <= lost.keys():
            found[name] = Seen(message=f"{gone} of {len(cameras)} cameras cannot be reached")
    return found
