"""Bundles that were carried in: judged as what comes over the network is, and handed on. Without a network this is the only way in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.bundle import INBOX, READY
from agent.download import Progress, what_is_wrong
from agent.errors import AgentError, ArtifactRefused, Refused
from agent.files import DISK, Disk, write_atomic
from agent.identity import Identity
from agent.store import Store
from agent.trust import Gate
from agent.update.journal import Journal
from agent.vouch import Vouch
from wire.bundle import FILE, OBJECTS, Bundle, decode
from wire.desired import Desired
from wire.errors import WireError
from wire.reasons import Reason
from wire.targets import Kind

log = logging.getLogger(__name__)

OUTCOME = "outcome.json"
LOOK_S = 2.0


class Inbox:
    """`offered` takes a signed desired state, as one from the broker; `refused` what is wrong with a bundle."""

    def __init__(
        self,
        state_dir: Path,
        identity: Identity,
        vouch: Vouch,
        gate: Gate,
        journal: Journal,
        store: Store,
        offered: Callable[[object], None],
        refused: Callable[[Reason, str], None],
        disk: Disk = DISK,
    ) -> None:
        self._folder = state_dir / INBOX
        self._identity = identity
        self._vouch = vouch
        self._gate = gate
        self._journal = journal
        self._store = store
        self._offered = offered
        self._refused = refused
        self._disk = disk

    async def run(self) -> None:
        """Look for bundles until cancelled."""
        while True:
            if (self._folder / READY).is_dir():
                await self._take(self._folder / READY)
            await asyncio.sleep(LOOK_S)

    async def _take(self, ready: Path) -> None:
        try:
            outcome: dict[str, Any] = {"ok": True, "revision": await self._believe(ready)}
        except (AgentError, WireError) as e:
            outcome = {"ok": False, "reason": e.reason.value, "message": str(e)}
            self._refused(e.reason, f"bundle: {e}")
        except OSError as e:
            outcome = {
                "ok": False,
                "reason": Reason.DISK_FULL.value,
                "message": f"the bundle cannot be taken in: {e}",
            }
            self._refused(Reason.DISK_FULL, outcome["message"])
        except Exception as e:  # the boundary: whatever is on a stick, the device goes on
            log.exception("a bundle could not be looked at")
            outcome = {"ok": False, "reason": Reason.INTERNAL.value, "message": f"{type(e).__name__}: {e}"}
        log.info("a bundle was looked at", extra={"outcome": outcome})
        await asyncio.to_thread(self._forget, ready, outcome)

    async def _believe(self, ready: Path) -> int:
        """The revision that is handed on, its artifacts in the store."""
        content = await asyncio.to_thread((ready / FILE).read_bytes)
        bundle = decode(content)
        identity = self._identity
        document = bundle.devices.get(identity.device)
        if bundle.fleet != identity.fleet or document is None:
            raise Refused(
                Reason.BUNDLE_INVALID, f"the bundle is not for {identity.device} of fleet {identity.fleet}"
            )
        source = Folder(bundle)
        await self._vouch.refresh(source)
        desired = self._gate.open_desired(document, self._journal.highest())
        if desired is None:
            return self._journal.highest()
        # Until the document is in the journal nothing else says that its artifacts are needed.
        with self._store.pinned(desired.digests):
            await self._fetch(desired, ready, source)
            self._offered(document)
        return desired.revision

    async def _fetch(self, desired: Desired, ready: Path, source: Folder) -> None:
        wanted: list[tuple[Kind, str]] = [("model", model.digest) for model in desired.models.values()]
        wanted += [("workflow", workflow.digest) for workflow in desired.workflows.values()]
        if desired.agent is not None and desired.agent.digest is not None:
            wanted.append(("release", desired.agent.digest))
        lengths = await self._vouch.lengths([item for item in wanted if not self._holds(*item)], source)
        shelf = Shelf(ready / OBJECTS, lengths, self._disk)
        for kind, digest in wanted:
            if kind == "workflow":
                await self._store.fetch_workflow(digest, shelf)
            else:
                await self._store.fetch_model(digest, shelf, kind=kind)

    def _holds(self, kind: Kind, digest: str) -> bool:
        store = self._store
        return (store.object_path(digest) if kind == "workflow" else store.model_path(digest)).exists()

    def _forget(self, ready: Path, outcome: dict[str, Any]) -> None:
        self._disk.remove_tree(ready)
        try:
            write_atomic(
                self._folder / OUTCOME, json.dumps(outcome).encode(), 0o644, durable=False, disk=self._disk
            )
        except OSError as e:
            log.warning("the outcome of a bundle cannot be written", extra={"cause": str(e)})


class Folder:
    """Trust metadata of a bundle: a `Source`."""

    def __init__(self, bundle: Bundle) -> None:
        self._files = bundle.metadata

    async def metadata(self, name: str, max_bytes: int) -> bytes | None:
        content = self._files.get(name)
        return None if content is None else content.encode()[: max_bytes + 1]


class Shelf:
    """Objects of a bundle: a `Fetcher` that moves them into the store."""

    def __init__(self, folder: Path, lengths: dict[str, int] | None, disk: Disk) -> None:
        self._folder = folder
        self._lengths = lengths
        self._disk = disk

    async def vouched(self, kind: Kind, digest: str) -> int | None:
        if self._lengths is None:
            return None
        if digest not in self._lengths:
            raise ArtifactRefused(
                Reason.TARGET_UNKNOWN, f"no trust metadata vouches for {kind} {digest[:19]}"
            )
        return self._lengths[digest]

    async def fetch(
        self,
        digest: str,
        target: Path,
        *,
        max_bytes: int,
        exact: bool = False,
        progress: Progress | None = None,
    ) -> None:
        source = self._folder / digest.removeprefix("sha256:")
        if not source.is_file():
            raise ArtifactRefused(
                Reason.BUNDLE_INVALID, f"{digest[:19]} is not in the bundle; export it again"
            )
        wrong = await asyncio.to_thread(what_is_wrong, source, digest, max_bytes if exact else None)
        if wrong is not None:
            raise ArtifactRefused(
                Reason.ARTIFACT_CORRUPT, f"{digest[:19]} in the bundle is not what was signed ({wrong})"
            )
        await asyncio.to_thread(self._move, source, target)

    def _move(self, source: Path, target: Path) -> None:
        self._disk.replace(source, target)
        self._disk.sync_directory(target.parent)
