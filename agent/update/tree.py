"""The executor's ground where a device is a tree of plain files: artifacts from a directory, nothing that runs. Standard library only.

For a device whose updates come on a disk, and for the proof that no cut breaks one: models, workflows and the agent's own slots are
changed by the same code as on a device that runs.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.files import DISK, Disk, make_directories
from agent.objects import Entry, Objects, digest_of_file
from agent.update.ground import Go, Refusal, Skip, TooLate, Wait
from agent.update.journal import Document, Journal
from agent.update.slots import Slots
from wire.reasons import Reason

T = TypeVar("T")
BLOCK_BYTES = 256 * 1024


class PlainTime:
    """The clocks of the machine, waiting by sleeping: for work that never waits for anything else."""

    def __init__(self) -> None:
        self._end_mono = math.inf

    def mono(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def synced(self) -> bool:
        return True

    async def pause(self, seconds: float) -> None:
        if time.monotonic() + seconds > self._end_mono:
            raise TooLate
        time.sleep(seconds)  # noqa: ASYNC251  nothing else is under way

    async def within(self, deadline_s: float, work: Coroutine[Any, Any, T]) -> T:
        """The deadline is looked at where the work waits."""
        self._end_mono = time.monotonic() + deadline_s
        try:
            return await work
        finally:
            self._end_mono = math.inf


class TreeGround:
    """`source` holds the artifacts, each under the 64 digits of its digest."""

    def __init__(self, state_dir: Path, source: Path, journal: Journal, disk: Disk = DISK) -> None:
        self._disk = disk
        self._source = source
        self._journal = journal
        self.objects = Objects(state_dir, disk)
        self.slots = Slots(state_dir, disk)

    async def admit(self, document: Document) -> Go | Refusal:
        return Go()

    async def fetch(self, document: Document) -> Go | Refusal:
        body = document.json()
        for workflow in body.get("workflows", {}).values():
            if (refusal := self._fetch(workflow["digest"])) is not None:
                return refusal
        packages = [model["digest"] for model in body.get("models", {}).values()]
        packages += [body["agent"]["digest"]] if body.get("agent") else []
        for digest in packages:
            if (refusal := self._fetch_package(digest)) is not None:
                return refusal
        return Go()

    async def prepare(self, document: Document) -> Go | Refusal:
        if (digest := _release(document)) and not self.slots.holding(digest):
            slot = self.slots.begin()
            self._install(digest, self.slots.path(slot))
            self.slots.finish(slot, digest)
        return Go()

    def shadows(self, document: Document) -> bool:
        return False

    async def shadow(self, document: Document) -> Go | Skip | Refusal:
        return Skip("nothing runs")

    async def swap(self, document: Document) -> Go | Refusal:
        if digest := _release(document):
            former = self._journal.former(document.revision)
            slot = self.slots.holding(digest)
            self.slots.change(slot, document.revision, former.revision if former else 0)
        return Go()

    async def settle(self, document: Document) -> None:
        pass

    def judge(self, document: Document, elapsed_s: float) -> Go | Wait | Refusal:
        """Whether everything the document names is there, whole, and a workflow is JSON."""
        wrong = faults(self.objects, self.slots, document)
        if not wrong:
            return Go()
        suspects = tuple(sorted({fault.digest for fault in wrong}))
        words = "; ".join(fault.words for fault in wrong)
        return Refusal(Reason.PROBATION_FAILED, words, gate="whole", suspects=suspects)

    async def back(self, document: Document, former: Document | None) -> None:
        pending = self.slots.pending()
        if pending is not None and pending.revision == document.revision:
            self.slots.go_back()

    async def discard(self, document: Document) -> None:
        await self.back(document, None)

    async def release(self, kept: list[Document]) -> None:
        self.slots.tidy(self._journal.phase)
        self.objects.collect({digest for one in kept for digest in one.digests})

    # --- parts --------------------------------------------------------------------------------------------------------

    def _fetch_package(self, digest: str) -> Refusal | None:
        if self.objects.model_path(digest).exists():
            return None
        if (refusal := self._fetch(digest)) is not None:
            return refusal
        try:
            entries = self.objects.entries(digest)
        except ValueError as e:
            return Refusal(Reason.ARTIFACT_CORRUPT, str(e))
        for entry in entries:
            if (refusal := self._fetch(entry.digest)) is not None:
                return refusal
        self.objects.check_out(digest, entries)
        return None

    def _fetch(self, digest: str) -> Refusal | None:
        target = self.objects.object_path(digest)
        if target.exists():
            return None
        source = self._source / digest.removeprefix("sha256:")
        if not source.exists():
            return Refusal(Reason.ARTIFACT_MISSING, f"{source} is not there")
        part = target.with_name(target.name + ".part")
        self._copy(source, part)
        if digest_of_file(part) != digest:
            self._disk.remove(part)
            return Refusal(
                Reason.ARTIFACT_CORRUPT, f"{source} has other bytes than its name says; copy it again"
            )
        self.objects.name(part, digest)
        return None

    def _copy(self, source: Path, part: Path) -> None:
        with source.open("rb") as reader, self._disk.open(part) as writer:
            while block := reader.read(BLOCK_BYTES):
                writer.write(block)
            writer.flush()

    def _install(self, digest: str, path: Path) -> None:
        """A release is its files; durable when this returns."""
        for entry in self.objects.entries(digest):
            target = path / entry.path
            make_directories(target.parent, disk=self._disk)
            with self._disk.open(target) as file:
                file.write(self.objects.object_path(entry.digest).read_bytes())
                self._disk.sync(file)
            self._disk.sync_directory(target.parent)


@dataclass(frozen=True)
class Fault:
    """What is wrong with the thing of this digest."""

    digest: str
    words: str


def faults(objects: Objects, slots: Slots, document: Document) -> list[Fault]:
    """What is not right of the things a document names."""
    body = document.json()
    wrong = []
    for name, workflow in body.get("workflows", {}).items():
        path, digest = objects.object_path(workflow["digest"]), workflow["digest"]
        if not path.exists() or digest_of_file(path) != digest:
            wrong.append(Fault(digest, f"workflow {name} is not whole"))
        elif not _is_json(path):
            wrong.append(Fault(digest, f"workflow {name} is no JSON"))
    for name, model in body.get("models", {}).items():
        words = _package_faults(objects, model["digest"])
        wrong += [Fault(model["digest"], f"model {name}: {each}") for each in words]
    if (digest := _release(document)) and slots.running_digest != digest:
        running = slots.running_digest or "the installed one"
        wrong.append(Fault(digest, f"the agent that starts is {running}, not {digest}"))
    return wrong


def _package_faults(objects: Objects, digest: str) -> list[str]:
    try:
        entries: tuple[Entry, ...] = objects.entries(digest)
    except (OSError, ValueError) as e:
        return [str(e)]
    folder = objects.model_path(digest)
    return [
        f"{entry.path} is not whole"
        for entry in entries
        if not (folder / entry.path).exists() or digest_of_file(folder / entry.path) != entry.digest
    ]


def _release(document: Document) -> str:
    return str((document.json().get("agent") or {}).get("digest", ""))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
