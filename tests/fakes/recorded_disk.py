"""A run of a program whose writes are recorded, and the disk as a loss of power at any moment would have left it.

The recorder is preloaded, so that SQLite's own calls are seen (`disk_recorder.c`); it needs a C compiler. A cut leaves of what was not
synced nothing, everything, or some of it, the last of it torn; names are kept. A line written to `marks` is what the program has told.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_recorder.c")
COMPILER = shutil.which("cc")
MARKS = "marks"
SECTOR_BYTES = 512
_HEAD = struct.Struct("=BHQI")


@dataclass(frozen=True)
class Call:
    """`operation`: C made, W written, T cut to `offset`, S synced, U removed."""

    operation: str
    name: str
    offset: int
    content: bytes


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)

    def after(self, calls: list[Call]) -> bytes:
        content = bytearray(self.synced)
        for call in calls:
            _apply(content, call)
        return bytes(content)


def recorded(folder: Path, program: str, *arguments: str) -> list[Call]:
    """Run a Python program that works in the folder; what it wrote there. The folder is as before afterwards."""
    library, record = folder.with_name("recorder.so"), folder.with_name("record")
    subprocess.run([COMPILER or "cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "RECORD_BELOW": f"{folder}/",
        "RECORD_TO": str(record),
    }
    subprocess.run(
        [sys.executable, "-c", program, str(folder), *arguments], check=True, env=environment, timeout=120
    )
    calls = list(_read(record.read_bytes(), folder))
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in before.items():
        (folder / name).write_bytes(content)
    return calls


def _read(record: bytes, folder: Path) -> Iterator[Call]:
    at = 0
    while at < len(record):
        operation, path_bytes, offset, size = _HEAD.unpack_from(record, at)
        at += _HEAD.size
        path, content = (
            record[at : at + path_bytes].decode(),
            record[at + path_bytes : at + path_bytes + size],
        )
        at += path_bytes + size
        yield Call(chr(operation), path.removeprefix(f"{folder}/"), offset, content)


class RecordedDisk:
    """Goes through the calls of a record; `cut` writes what a loss of power just now would leave."""

    def __init__(self, before: Path) -> None:
        self._files = {p.name: _File(bytearray(p.read_bytes())) for p in before.iterdir() if p.is_file()}
        self.told: list[str] = []

    def go_on(self, call: Call) -> None:
        if call.name == MARKS:
            self.told += call.content.decode().split()
            return
        file = self._files.setdefault(call.name, _File())
        if call.operation == "U":
            del self._files[call.name]
        elif call.operation == "S":
            file.synced = bytearray(file.after(file.pending))
            file.pending = []
        elif call.operation in "WT":
            file.pending.append(call)

    def cut(self, target: Path, left: str, dice: random.Random) -> None:
        """`left` of what was not synced: nothing, everything, some."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name, file in self._files.items():
            if not name.endswith("-shm"):  # shared memory is made anew
                (target / name).write_bytes(file.after(_left(file.pending, left, dice)))


def _left(pending: list[Call], left: str, dice: random.Random) -> list[Call]:
    if left == "nothing":
        return []
    if left == "everything":
        return pending
    some = [call for call in pending if dice.random() < 0.5]
    if some and some[-1].operation == "W" and len(some[-1].content) > SECTOR_BYTES:
        torn = some[-1]
        some[-1] = Call("W", torn.name, torn.offset, torn.content[: SECTOR_BYTES * dice.randint(1, 4)])
    return some


def _apply(content: bytearray, call: Call) -> None:
    if call.operation == "T":
        del content[call.offset :]
        content.extend(bytes(call.offset - len(content)))
        return
    content.extend(bytes(max(0, call.offset - len(content))))
    content[call.offset : call.offset + len(call.content)] = call.content
