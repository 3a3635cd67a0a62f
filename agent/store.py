"""The content-addressed store: `objects/sha256/<hex>` and, for each model, a directory of hard links `models/<hex>/`.

An object has its name only once its bytes are whole, checked and durable; so what is there is right.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from agent.download import Progress
from agent.errors import ArtifactRefused
from agent.files import DISK, Disk
from agent.objects import Entry, Objects
from wire import manifest
from wire.errors import WireError
from wire.manifest import MAX_MANIFEST_BYTES, Manifest
from wire.reasons import Reason
from wire.targets import Kind

log = logging.getLogger(__name__)

MAX_WORKFLOW_BYTES = 16 * 1024 * 1024


class Fetcher(Protocol):
    """Where objects come from."""

    async def vouched(self, kind: Kind, digest: str) -> int | None:
        """The signed length of an artifact in bytes; None where no root is pinned and its digest is all that is known.

        :raises ArtifactRefused: nobody vouches for it
        """

    async def fetch(
        self,
        digest: str,
        target: Path,
        *,
        max_bytes: int,
        exact: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Fetch an object of at most, or `exact`ly, so many bytes.

        :raises ArtifactRefused: it cannot be had
        """


class Store:
    """Artifacts on disk. One update at a time uses `fetch_*`; paths may be asked for at any time."""

    def __init__(self, state_dir: Path, disk: Disk = DISK, quota_bytes: int = 0) -> None:
        """`quota_bytes` 0 is no quota."""
        self._quota_bytes = quota_bytes
        self._pinned: Counter[str] = Counter()
        self._on_disk = Objects(state_dir, disk)

    def object_path(self, digest: str) -> Path:
        """Where the object is, or would be."""
        return self._on_disk.object_path(digest)

    def model_path(self, digest: str) -> Path:
        """The checked-out package of a model."""
        return self._on_disk.model_path(digest)

    async def fetch_workflow(self, digest: str, fetcher: Fetcher) -> Path:
        """:raises ArtifactRefused: it cannot be had"""
        path = self.object_path(digest)
        if not path.exists():
            await self._fetch_vouched("workflow", digest, path, fetcher, MAX_WORKFLOW_BYTES)
        return path

    async def fetch_model(
        self,
        digest: str,
        fetcher: Fetcher,
        progress: Callable[[int, int], None] | None = None,
        kind: Kind = "model",
    ) -> Path:
        """Fetch what is missing of a model or a release and check it out; `progress` gets bytes done and bytes in all.

        :raises ArtifactRefused: it cannot be had
        """
        path = self.model_path(digest)
        if path.exists():
            return path
        files = await self._manifest(kind, digest, fetcher)
        missing = (e for e in files.files if not self.object_path(e.sha256).exists())
        self._check_quota(kind, digest, sum(entry.size for entry in missing))
        told = progress or (lambda _done, _total: None)
        done = 0
        for entry in files.files:
            target = self.object_path(entry.sha256)
            if not target.exists():
                base = done
                await fetcher.fetch(
                    entry.sha256,
                    target,
                    max_bytes=entry.size,
                    exact=True,
                    progress=lambda count, base=base: told(base + count, files.total_bytes),  # type: ignore[misc]
                )
            done += entry.size
        self._check_out(digest, files)
        return path

    async def manifest(self, digest: str, fetcher: Fetcher, kind: Kind = "model") -> Manifest:
        """What a model or a release consists of, fetched where it is not there.

        :raises ArtifactRefused: it cannot be had
        """
        return await self._manifest(kind, digest, fetcher)

    def quota_left_bytes(self) -> int | None:
        """What the store may still grow by; None without a quota."""
        return max(0, self._quota_bytes - self._on_disk.used_bytes()) if self._quota_bytes else None

    async def _manifest(self, kind: Kind, digest: str, fetcher: Fetcher) -> Manifest:
        path = self.object_path(digest)
        if not path.exists():
            await self._fetch_vouched(kind, digest, path, fetcher, MAX_MANIFEST_BYTES)
        return self._read_manifest(digest)

    async def _fetch_vouched(
        self, kind: Kind, digest: str, path: Path, fetcher: Fetcher, limit_bytes: int
    ) -> None:
        """Fetch an artifact's own object: a workflow, or a model's manifest, which speaks for the model's files."""
        length = await fetcher.vouched(kind, digest)
        if length is not None and length > limit_bytes:
            raise ArtifactRefused(
                Reason.TOO_LARGE, f"{kind} {digest[:19]} has {length} bytes; at most {limit_bytes} are taken"
            )
        self._check_quota(kind, digest, length or 0)
        await fetcher.fetch(
            digest, path, max_bytes=limit_bytes if length is None else length, exact=length is not None
        )

    def _check_quota(self, kind: str, digest: str, more_bytes: int) -> None:
        """:raises ArtifactRefused: the store would be larger than it may be"""
        if not self._quota_bytes:
            return
        used = self._on_disk.used_bytes()
        if used + more_bytes > self._quota_bytes:
            raise ArtifactRefused(
                Reason.STORE_QUOTA,
                f"{kind} {digest[:19]} needs {more_bytes} bytes beside the {used} there are; limits.store_bytes is "
                f"{self._quota_bytes}",
            )

    def _read_manifest(self, digest: str) -> Manifest:
        try:
            return manifest.decode(self.object_path(digest).read_bytes())
        except (OSError, WireError) as e:
            raise ArtifactRefused(
                Reason.ARTIFACT_CORRUPT,
                f"{digest[:19]} is no manifest of a model: {e}; upload the model again",
            ) from e

    def _check_out(self, digest: str, files: Manifest) -> None:
        entries = [Entry(entry.path, entry.sha256, entry.size) for entry in files.files]
        try:
            self._on_disk.check_out(digest, entries)
        except OSError as e:
            raise ArtifactRefused(
                Reason.DISK_FULL, f"model cannot be checked out to {self.model_path(digest)}: {e}"
            ) from e

    @contextmanager
    def pinned(self, digests: Iterable[str]) -> Iterator[None]:
        """Artifacts that are being fetched for a document which is in no journal yet: meanwhile no clean-up takes them."""
        held = Counter(digests)
        self._pinned += held
        try:
            yield
        finally:
            self._pinned -= held

    def collect(self, keep: Iterable[str]) -> int:
        """Delete every model and object that none of the digests needs; the number deleted. Parts of downloads go too.

        :raises OSError: the disk fails
        :raises ArtifactRefused: a manifest that is needed cannot be read
        """
        try:
            gone = self._on_disk.collect({*keep, *self._pinned})
        except ValueError as e:
            raise ArtifactRefused(Reason.ARTIFACT_CORRUPT, str(e)) from e
        if gone:
            log.info("store cleared of what is not needed", extra={"deleted": gone})
        return gone
