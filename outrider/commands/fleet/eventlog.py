"""`outrider fleet event list|watch|export`: events of the whole fleet by a filter."""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.events import event_line
from outrider.commands.fleet.output import dated, show

if TYPE_CHECKING:
    from fleet.client import Client
    from fleet.shapes import EventView

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FORMATS = {"jsonl": "events.jsonl", "csv": "events.csv"}
COCO = "coco"
TAR_BYTES = 1024 * 1024


def configure(commands: Commands) -> None:
    """Add the commands of `event`."""
    nouns = group(commands, "event", "what the cameras of the fleet have seen")
    listed = remote(nouns, "list", "events by a filter, the newest last", _list)
    _conditions(listed)
    listed.add_argument("--limit", type=int, default=20, help="0 is all")
    watched = remote(nouns, "watch", "events as they come, until Ctrl-C", _watch)
    _conditions(watched, times=False)
    pictures = remote(nouns, "pictures", "pictures that devices have sent, the newest last", _pictures)
    _conditions(pictures)
    pictures.add_argument(
        "--source", choices=["event", "sample"], help="came with an event, or for re-training"
    )
    pictures.add_argument("--limit", type=int, default=20, help="0 is all")
    picture = remote(nouns, "picture", "one of them into a file", _picture)
    picture.add_argument("device")
    picture.add_argument("picture", help="its id; an event names its own as picture.id")
    picture.add_argument("--out", type=Path, metavar="FILE", help="instead of PICTURE.jpg")
    picture.add_argument("--remove", action="store_true", help="remove it for good instead")
    taken = remote(nouns, "export", "every event of a filter, into files", _export)
    _conditions(taken)
    taken.add_argument(
        "--format", choices=[*FORMATS, COCO], default="jsonl", help="coco: pictures with labels"
    )
    taken.add_argument("--to", metavar="DIR", required=True, help="a folder, or - for stdout")
    taken.add_argument("--source", choices=["event", "sample"], help="which pictures; both without it")
    taken.add_argument("--most", type=int, metavar="N", help="pictures, the newest ones; 5000 without it")
    taken.add_argument(
        "--column", action="append", metavar="PATH", help="of the CSV, e.g. outputs.count; repeat it"
    )


def conditions(args: argparse.Namespace) -> dict[str, Any]:
    """The filter that the arguments name."""
    names = ("selector", "device", "camera", "workflow", "kind", "having", "field")
    times = {name: when(text) for name in ("since", "until") if (text := getattr(args, name, None))}
    return {**{name: getattr(args, name) for name in names}, **times}


def when(text: str, at_wall: float | None = None) -> float:
    """Seconds since the epoch of `2h` (ago), of seconds, or of a date with or without a time, in local time.

    :raises Refused: it is none of these
    """
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        if text[-1:] in UNITS_S and text[:-1].replace(".", "", 1).isdigit():
            return (time.time() if at_wall is None else at_wall) - float(text[:-1]) * UNITS_S[text[-1]]
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except ValueError as e:
        raise Refused(
            Reason.INVALID_FIELD, f"{text!r} is no time; expected 2h, 2026-05-01, 2026-05-01T14:00"
        ) from e


def _conditions(parser: argparse.ArgumentParser, *, times: bool = True) -> None:
    parser.add_argument("--device")
    parser.add_argument("--selector", help="devices by label, e.g. site=lyon")
    parser.add_argument("--camera")
    parser.add_argument("--workflow", help="name, name@3, name@alias or a digest")
    parser.add_argument(
        "--kind", choices=["result", "sink"], help="outputs of a workflow, or what a step of it sent"
    )
    parser.add_argument("--having", choices=["picture", "clip"], action="append")
    parser.add_argument(
        "--field",
        action="append",
        metavar="PATH=VALUE",
        help="e.g. outputs.count=3, outputs.found.predictions.*.class=person; repeat it",
    )
    if times:
        parser.add_argument("--since", help="2h, 2026-05-01 or 2026-05-01T14:00, of the event's own time")
        parser.add_argument("--until")


def _list(args: argparse.Namespace, client: Client) -> int:
    events = list(client.fleet_events.each(conditions(args), most=args.limit or None))
    for event in reversed(events):
        _print(args, event)
    return 0


def _watch(args: argparse.Namespace, client: Client) -> int:
    for event in client.fleet_events.watch(conditions(args)):
        _print(args, event)
    return 0


def _print(args: argparse.Namespace, event: EventView) -> None:
    print(json.dumps(event) if args.json else f"{event['device']} {event_line(event)}", flush=True)


def _pictures(args: argparse.Namespace, client: Client) -> int:
    rows = list(client.fleet_events.pictures(conditions(args), args.source, args.limit or None))[::-1]
    shown = [
        {
            **dated(row, "taken_wall"),
            "why": row["about"].get("why", ""),
            "found": Counter(label["name"] for label in row["about"].get("labels", ())).most_common(3),
        }
        for row in rows
    ]
    for row in shown:
        row["found"] = ", ".join(f"{count} {name}" for name, count in row["found"])
    columns = {
        "id": "PICTURE",
        "device": "DEVICE",
        "camera": "CAMERA",
        "taken_wall": "TAKEN",
        "why": "WHY",
        "found": "FOUND",
    }
    return show(args, rows, shown, columns)


def _picture(args: argparse.Namespace, client: Client) -> int:
    if args.remove:
        client.fleet_events.remove_picture(args.device, args.picture)
        return 0
    out = args.out or Path(f"{args.picture}.jpg")
    out.write_bytes(client.fleet_events.picture(args.device, args.picture))
    print(out)
    return 0


def _export(args: argparse.Namespace, client: Client) -> int:
    if args.format == COCO:
        chunks = client.fleet_events.data_set(conditions(args), source=args.source, most=args.most)
    else:
        chunks = client.fleet_events.export(conditions(args), format=args.format, column=args.column)
    if args.to == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return 0
    folder = Path(args.to)
    folder.mkdir(parents=True, exist_ok=True)
    if args.format == COCO:
        print(f"{folder}: {_unpack(chunks, folder)} pictures with {folder / 'annotations.json'}")
        return 0
    path = folder / FORMATS[args.format]
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        size_bytes = sum(file.write(chunk) for chunk in chunks)
    part.replace(path)
    print(f"{path}: {size_bytes} bytes")
    return 0


def _unpack(chunks: Iterator[bytes], folder: Path) -> int:
    """Unpack a data set as it comes; how many pictures. Only plain files below the folder are taken."""
    count = 0
    with tarfile.open(fileobj=io.BufferedReader(_Stream(chunks), TAR_BYTES), mode="r|") as tar:
        for member in tar:
            parts = Path(member.name).parts
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or ".." in parts or Path(member.name).is_absolute():
                continue
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            count += len(parts) > 1
    return count


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(into), len(self._rest))
        into[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
