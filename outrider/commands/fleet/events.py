"""`outrider fleet device events|clips`: what a device has seen, a line an event, and its films."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, remote
from outrider.commands.fleet.output import dated

if TYPE_CHECKING:
    from fleet.client import Client
    from fleet.shapes import EventView

FOLLOW_S = 1.0
OUTPUT_CHARACTERS = 80
"""One output of an event in the list of events; --json shows all of it."""


def configure(device: Commands) -> None:
    """Add `events` to the commands of `device`."""
    events = remote(device, "events", "what a device has seen", _device_events)
    events.add_argument("device")
    events.add_argument(
        "--after", type=int, default=-1, help="a cursor; by default the newest events are shown"
    )
    events.add_argument("--limit", type=int, default=20)
    events.add_argument("--camera")
    events.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    clips = remote(device, "clips", "films of a device's cameras, or one of them into a file", _device_clips)
    clips.add_argument("device")
    clips.add_argument("clip", nargs="?", help="the id of one; an event names its own as clip")
    clips.add_argument("--out", type=Path, metavar="FILE", help="instead of CLIP.webm")


def _device_clips(args: argparse.Namespace, client: Client) -> int:
    if args.clip:
        out = args.out or Path(f"{args.clip}.webm")
        out.write_bytes(client.clip(args.device, args.clip))
        print(out)
        return 0
    for clip in client.clips(args.device):
        seconds = clip["to_wall"] - clip["from_wall"]
        line = f"{clip['id']} {dated(clip, 'to_wall')['to_wall']} {clip['camera']} {seconds:.1f} s, {clip['size_bytes']} bytes"
        print(json.dumps(clip) if args.json else line)
    return 0


def _device_events(args: argparse.Namespace, client: Client) -> int:
    after = args.after
    while True:
        events, after = client.events(args.device, after, args.limit, args.camera)
        for event in events:
            print(json.dumps(event) if args.json else event_line(event), flush=True)
        if not args.follow:
            return 0
        if len(events) < args.limit:
            time.sleep(FOLLOW_S)


def event_line(event: EventView) -> str:
    """An event for people."""
    body = event["data"]
    models = ", ".join(body.get("model_names", {}).values())
    outputs = ", ".join(f"{name} {_brief(value)}" for name, value in body.get("outputs", {}).items())
    at = dated(event, "at")["at"]
    return f"{event['cursor']} {at} {event['camera']} frame {event['frame_seq']} [{models}] {outputs}"


def _brief(value: Any) -> str:
    """An output in a few words: detections as counts by class, the rest as JSON that is cut short."""
    found = value.get("predictions") if isinstance(value, dict) else None
    if isinstance(found, list) and all(isinstance(item, dict) and "class" in item for item in found):
        counts = Counter(str(item["class"]) for item in found)
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    text = json.dumps(value)
    return text if len(text) <= OUTPUT_CHARACTERS else f"{text[:OUTPUT_CHARACTERS]}…"
