"""`outrider camera scan`: the cameras of the local network."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    scan = actions.add_parser("scan", help="list the ONVIF cameras that answer on the local network")
    scan.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="listen so long (3)")
    scan.add_argument(
        "--interface", default="", metavar="ADDRESS", help="ask on the network of this own address"
    )
    scan.add_argument(
        "--target", default="", metavar="HOST:PORT", help="ask this host alone, without multicast"
    )
    scan.add_argument("--json", action="store_true", help="print one JSON object a camera")


def run(arguments: argparse.Namespace) -> int:
    from runtime.camera.discovery import MULTICAST, scan

    host, _, port = arguments.target.rpartition(":")
    try:
        target = (host, int(port)) if arguments.target else MULTICAST
        cameras = scan(arguments.timeout, target=target, interface=arguments.interface)
    except (OSError, ValueError) as e:
        print(f"outrider: the network cannot be asked: {e}; check --interface and --target", file=sys.stderr)
        return 1
    for camera in cameras:
        if arguments.json:
            print(json.dumps(dataclasses.asdict(camera)))
        else:
            words = " ".join(each for each in (camera.name, camera.hardware, camera.location) if each)
            print(f"{camera.address:16} {words or camera.id}")
    if not cameras:
        print("no camera answered; are discovery and this network's multicast on?", file=sys.stderr)
    return 0
