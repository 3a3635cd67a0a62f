"""Trust metadata of the update framework (TUF) on this device: which artifacts are genuine, and whose keys sign desired states.

The rules are python-tuf's `TrustedMetadataSet`; what is fetched and how, and what is written and when, is ours. Each file is written,
durably, once it has been verified, so that no later run believes less new than this one: `tuf/root.json`, `timestamp.json`,
`snapshot.json`, `targets.json`, `models-0.json` … `trusted.json` holds what a device without network needs of it: the state keys
and the latest time that was known for sure.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent import framework
from agent.clock import Clock
from agent.errors import ConfigRefused, MetadataRefused
from agent.files import DISK, Disk, make_directories, write_atomic
from wire import dsse
from wire.reasons import Reason
from wire.targets import (
    MAX_ROOT_BYTES,
    MAX_ROOT_ROTATIONS,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    STATE_ROLE,
)

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

log = logging.getLogger(__name__)

FOLDER = "tuf"
TRUSTED = "trusted.json"


class Source(Protocol):
    """Where metadata comes from: the control plane, or a bundle."""

    async def metadata(self, name: str, max_bytes: int) -> bytes | None:
        """A file by its name under consistent snapshots; None where there is none.

        :raises Transient: it cannot be had just now
        :raises MetadataRefused: it is longer than that
        """


class Metadata:
    """For one task at a time, on the loop's thread; writing is done on others."""

    def __init__(self, state_dir: Path, pinned_root: bytes, clock: Clock, disk: Disk = DISK) -> None:
        """:raises OSError: no room, no permission"""
        self._dir = state_dir / FOLDER
        self._pinned = pinned_root
        self._clock = clock
        self._disk = disk
        self._set: TrustedMetadataSet | None = None
        make_directories(self._dir, 0o700, disk=disk)
        self._state_keys, self._floor_wall = self._load_trusted()

    @property
    def state_keys(self) -> dict[str, bytes]:
        """Key id (`wire.dsse`) → raw public key of those who may sign desired states; empty before the first refresh."""
        return self._state_keys

    async def refresh(self, source: Source) -> None:
        """Bring everything up to date, from the newest root known to the top-level targets.

        :raises MetadataRefused: it cannot be believed, or is past its end
        :raises Transient: the source cannot be reached
        :raises OSError: it cannot be written
        """
        self._set = None
        trusted = self._begin()
        await self._root(trusted, source)
        await self._timestamp(trusted, source)
        await self._snapshot(trusted, source)
        await self._targets(trusted, source, "targets", "root")
        self._set = trusted
        await self._keep_trusted(trusted)

    async def target(self, path: str, source: Source) -> TargetFile | None:
        """What is signed of an artifact; None where nobody vouches for it. After a `refresh`.

        :raises MetadataRefused, Transient, OSError: as `refresh`
        """
        trusted = self._set
        if trusted is None:
            raise RuntimeError("metadata is asked before it was refreshed")
        delegations = trusted.targets.delegations
        for role, _ in delegations.get_roles_for_target(path) if delegations else ():
            if not trusted.contains(role, "targets"):
                await self._targets(trusted, source, role, "targets")
            signed: Any = trusted[role]
            found: TargetFile | None = signed.targets.get(path)
            return found
        return None

    # --- the workflow -------------------------------------------------------------------------------------------------

    def _begin(self) -> TrustedMetadataSet:
        """The newest root that was verified; the pinned one where that file is lost."""
        framework.prepare()
        from tuf.api.exceptions import RepositoryError
        from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
        from tuf.ngclient.config import EnvelopeType

        kept = self._read("root")
        for content in (kept, self._pinned):
            if content is None:
                continue
            try:
                trusted = TrustedMetadataSet(content, EnvelopeType.METADATA)
                break
            except RepositoryError as e:
                log.error(
                    "the kept root cannot be read; going back to the pinned one", extra={"cause": str(e)}
                )
        else:
            raise ConfigRefused(
                Reason.METADATA_INVALID, "the pinned root cannot be read; enrol the device again"
            )
        trusted.reference_time = self._reference_time()
        return trusted

    def _reference_time(self) -> datetime:
        """Against which ends are judged: now, or where the clock is not synchronised, the latest time that surely was."""
        wall = self._clock.wall() if self._clock.synced() else 0.0
        return datetime.fromtimestamp(max(wall, self._floor_wall), timezone.utc)

    async def _root(self, trusted: TrustedMetadataSet, source: Source) -> None:
        for _ in range(MAX_ROOT_ROTATIONS):
            version = trusted.root.version + 1
            content = await source.metadata(f"{version}.root.json", MAX_ROOT_BYTES)
            if content is None:
                return
            _verified("root", lambda content=content: trusted.update_root(content))  # type: ignore[misc]
            await self._write("root", content)

    async def _timestamp(self, trusted: TrustedMetadataSet, source: Source) -> None:
        from tuf.api.exceptions import EqualVersionNumberError, RepositoryError

        try:
            trusted.update_timestamp(self._read("timestamp") or b"")
        except RepositoryError as e:
            log.debug("the kept timestamp does not hold any more", extra={"cause": str(e)})
        content = await _needed(source, "timestamp.json", MAX_TIMESTAMP_BYTES)
        try:
            _verified("timestamp", lambda: trusted.update_timestamp(content), EqualVersionNumberError)
        except EqualVersionNumberError:
            return
        await self._write("timestamp", content)

    async def _snapshot(self, trusted: TrustedMetadataSet, source: Source) -> None:
        from tuf.api.exceptions import RepositoryError

        try:
            trusted.update_snapshot(self._read("snapshot") or b"", trusted=True)
            return
        except RepositoryError as e:
            log.debug("the kept snapshot is not the newest", extra={"cause": str(e)})
        if trusted.timestamp.is_expired(trusted.reference_time):
            raise MetadataRefused(Reason.METADATA_EXPIRED, _over("timestamp", trusted.timestamp.expires))
        meta = trusted.timestamp.snapshot_meta
        length = min(meta.length or MAX_SNAPSHOT_BYTES, MAX_SNAPSHOT_BYTES)
        content = await _needed(source, f"{meta.version}.snapshot.json", length)
        before = trusted.get("snapshot")
        try:
            _verified("snapshot", lambda: trusted.update_snapshot(content))
        except MetadataRefused as e:
            if e.reason is Reason.METADATA_ROLLBACK and trusted.get("snapshot") is not before:
                # It was taken, and is not the version that the timestamp names.
                raise MetadataRefused(Reason.METADATA_MISMATCH, str(e)) from e
            raise
        await self._write("snapshot", content)

    async def _targets(self, trusted: TrustedMetadataSet, source: Source, role: str, delegator: str) -> None:
        from tuf.api.exceptions import RepositoryError

        try:
            trusted.update_delegated_targets(self._read(role) or b"", role, delegator)
            return
        except RepositoryError as e:
            log.debug("kept metadata is not the newest", extra={"role": role, "cause": str(e)})
        meta = trusted.snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise MetadataRefused(Reason.METADATA_MISMATCH, f"the snapshot does not list {role}")
        length = min(meta.length or MAX_TARGETS_BYTES, MAX_TARGETS_BYTES)
        content = await _needed(source, f"{meta.version}.{role}.json", length)
        try:
            _verified(role, lambda: trusted.update_delegated_targets(content, role, delegator))
        except MetadataRefused as e:
            if e.reason is Reason.METADATA_ROLLBACK:  # its version is not the one the snapshot names
                raise MetadataRefused(Reason.METADATA_MISMATCH, str(e)) from e
            raise
        await self._write(role, content)

    # --- files --------------------------------------------------------------------------------------------------------

    def _read(self, role: str) -> bytes | None:
        try:
            return (self._dir / f"{role}.json").read_bytes()
        except OSError:
            return None

    async def _write(self, role: str, content: bytes) -> None:
        path = self._dir / f"{role}.json"
        await asyncio.to_thread(write_atomic, path, content, 0o600, disk=self._disk)

    def _load_trusted(self) -> tuple[dict[str, bytes], float]:
        try:
            body = json.loads(self._read("trusted") or b"{}")
            keys = {str(name): base64.b64decode(text) for name, text in body.get("state_keys", {}).items()}
            return keys, float(body.get("at_wall", 0.0))
        except (ValueError, AttributeError, TypeError) as e:
            log.error("what was trusted cannot be read; it is fetched again", extra={"cause": str(e)})
            return {}, 0.0

    async def _keep_trusted(self, trusted: TrustedMetadataSet) -> None:
        keys = _state_keys(trusted)
        floor_wall = max(self._floor_wall, self._clock.wall() if self._clock.synced() else 0.0)
        if keys == self._state_keys and floor_wall - self._floor_wall < FLOOR_STEP_S:
            return
        body = {
            "state_keys": {name: base64.b64encode(raw).decode() for name, raw in keys.items()},
            "at_wall": floor_wall,
        }
        path = self._dir / TRUSTED
        await asyncio.to_thread(write_atomic, path, json.dumps(body).encode(), 0o600, disk=self._disk)
        self._state_keys, self._floor_wall = keys, floor_wall


FLOOR_STEP_S = 3600.0
"""The known time is written at most this often: flash is spared."""


def check_root(content: bytes) -> None:
    """:raises MetadataRefused: no root metadata that its own keys have signed"""
    framework.prepare()
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    _verified("root", lambda: TrustedMetadataSet(content, EnvelopeType.METADATA))


async def _needed(source: Source, name: str, max_bytes: int) -> bytes:
    content = await source.metadata(name, max_bytes)
    if content is None:
        raise MetadataRefused(
            Reason.METADATA_MISMATCH, f"{name} is named by what was signed, and is not there"
        )
    return content


def _verified(role: str, verify: Callable[[], object], through: type[Exception] | None = None) -> None:
    """Run a step of the verification; `through` is an exception that the caller wants to see itself.

    :raises MetadataRefused: with the reason of the closed list
    """
    from tuf.api import exceptions

    reasons: list[tuple[type[Exception], Reason]] = [
        (exceptions.ExpiredMetadataError, Reason.METADATA_EXPIRED),
        (exceptions.BadVersionNumberError, Reason.METADATA_ROLLBACK),
        (exceptions.LengthOrHashMismatchError, Reason.METADATA_MISMATCH),
        (exceptions.RepositoryError, Reason.METADATA_INVALID),
    ]
    try:
        verify()
    except exceptions.RepositoryError as e:
        if through is not None and isinstance(e, through):
            raise
        reason = next(reason for kind, reason in reasons if isinstance(e, kind))
        raise MetadataRefused(reason, f"trust metadata {role} is refused: {e}") from e


def _over(role: str, end: datetime) -> str:
    return f"trust metadata {role} ended at {end:%Y-%m-%d %H:%M} UTC: nothing new is accepted"


def _state_keys(trusted: TrustedMetadataSet) -> dict[str, bytes]:
    """The keys of the role that has no metadata: who may sign desired states."""
    delegations = trusted.targets.delegations
    role = (delegations.roles or {}).get(STATE_ROLE) if delegations else None
    if delegations is None or role is None:
        return {}
    raw = [bytes.fromhex(delegations.keys[key_id].keyval["public"]) for key_id in role.keyids]
    return {dsse.key_id(public): public for public in raw}
