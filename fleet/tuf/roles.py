"""Metadata of the roles made, changed, signed and checked. Pure: no storage, no clock.

root ── names the keys of ──▶ targets, snapshot, timestamp (and its own)
targets ── delegates to ──▶ models-0 … models-f, workflows-0 … workflows-f, and names the keys of `state`
snapshot ── lists versions, sizes and hashes of ──▶ targets and all delegated roles
timestamp ── names ──▶ the snapshot
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from wire.targets import ARTIFACT_ROLES, KINDS, STATE_ROLE, group, pattern
from wire.targets import roles as roles_of_kind

TOP_ROLES = ("root", "targets", "snapshot", "timestamp")
OFFLINE_ROLES = frozenset({"root", "targets"})
"""Whose keys are made in the folder that is to be moved away."""
SERIALIZER = JSONSerializer(compact=True)
KEPT_FILES = 64
"""How many files' metadata are kept read: those in force and as many again."""


class Unsound(ValueError):
    """Metadata that does not verify."""


@dataclass(frozen=True)
class KeySet:
    """Who may sign for a role, and how many of them must."""

    keys: tuple[Key, ...]
    threshold: int = 1


def at(wall: float) -> datetime:
    """TUF's times have whole seconds."""
    return datetime.fromtimestamp(int(wall), timezone.utc)


def new_root(keys: Mapping[str, KeySet], expires_wall: float) -> Metadata[Root]:
    """The first root, unsigned; `keys` of the four top roles."""
    root = Root(
        version=1,
        expires=at(expires_wall),
        keys={key.keyid: key for name in TOP_ROLES for key in keys[name].keys},
        roles={name: _role(keys[name]) for name in TOP_ROLES},
        consistent_snapshot=True,
    )
    return Metadata(root)


def new_targets(keys: Mapping[str, KeySet], expires_wall: float) -> Metadata[Targets]:
    """The first top-level targets, unsigned; `keys` of the groups `models`, `workflows` and of `state`."""
    delegated = {
        role: _delegated(role, keys[group(kind)], [pattern(role)])
        for kind in KINDS
        for role in roles_of_kind(kind)
    }
    delegated[STATE_ROLE] = _delegated(STATE_ROLE, keys[STATE_ROLE], [f"{STATE_ROLE}/*"])
    known = {key.keyid: key for held in keys.values() for key in held.keys}
    return Metadata(Targets(expires=at(expires_wall), delegations=Delegations(known, delegated)))


def new_artifacts(expires_wall: float) -> Metadata[Targets]:
    """A delegated role without targets yet, unsigned."""
    return Metadata(Targets(expires=at(expires_wall)))


def new_snapshot(members: Mapping[str, bytes], version: int, expires_wall: float) -> Metadata[Snapshot]:
    """A snapshot of these files, unsigned; `members` maps a role to its serialized metadata."""
    meta = {
        f"{role}.json": MetaFile.from_data(version_of(content), content, ["sha256"])
        for role, content in members.items()
    }
    return Metadata(Snapshot(version=version, expires=at(expires_wall), meta=meta))


def new_timestamp(snapshot: bytes, version: int, expires_wall: float) -> Metadata[Timestamp]:
    """A timestamp that names this snapshot, unsigned."""
    meta = MetaFile.from_data(version_of(snapshot), snapshot, ["sha256"])
    return Metadata(Timestamp(version=version, expires=at(expires_wall), snapshot_meta=meta))


def lists(content: bytes, members: Mapping[str, bytes]) -> bool:
    """Whether a snapshot or timestamp names just these files."""
    signed = known(content).signed
    meta = signed.meta if isinstance(signed, Snapshot) else {"snapshot.json": signed.snapshot_meta}
    if set(meta) != {f"{role}.json" for role in members}:
        return False
    try:
        for role, member in members.items():
            meta[f"{role}.json"].verify_length_and_hashes(member)
    except RepositoryError:
        return False
    return all(meta[f"{role}.json"].version == version_of(member) for role, member in members.items())


def read(content: bytes) -> Metadata[Any]:
    """:raises Unsound: no metadata"""
    try:
        return Metadata.from_bytes(content)
    except (DeserializationError, RecursionError) as e:
        raise Unsound(f"no metadata of the update framework: {e}") from e


@lru_cache(maxsize=KEPT_FILES)
def known(content: bytes) -> Metadata[Any]:
    """As `read`, and kept for whoever asks next: not to be changed.

    :raises Unsound: no metadata
    """
    return read(content)


def write(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(SERIALIZER)


def version_of(content: bytes) -> int:
    return int(known(content).signed.version)


def end_of(content: bytes) -> float:
    """When it expires, as seconds of wall time."""
    return float(known(content).signed.expires.timestamp())


def next_version(content: bytes, expires_wall: float) -> Metadata[Any]:
    """The same metadata with the next version number and another end, unsigned, to be changed and signed."""
    metadata = read(content)
    metadata.signed.version += 1
    metadata.signed.expires = at(expires_wall)
    metadata.signatures.clear()
    return metadata


def key_ids(delegator: Root | Targets, role: str) -> tuple[str, ...]:
    return tuple(delegator.get_delegated_role(role).keyids)


def key_set(delegator: Root | Targets, role: str) -> KeySet:
    held = delegator.get_delegated_role(role)
    return KeySet(tuple(delegator.get_key(key_id) for key_id in held.keyids), held.threshold)


def set_keys(delegator: Root | Targets, roles: Iterable[str], held: KeySet) -> None:
    """Give these roles other keys; keys that no role has any more go."""
    for name in roles:
        role = delegator.get_delegated_role(name)
        role.keyids, role.threshold = [key.keyid for key in held.keys], held.threshold
    known = delegator.keys if isinstance(delegator, Root) else _delegations(delegator).keys
    every = delegator.roles if isinstance(delegator, Root) else _delegations(delegator).roles or {}
    known.update({key.keyid: key for key in held.keys})
    used = {key_id for role in every.values() for key_id in role.keyids}
    for key_id in set(known) - used:
        del known[key_id]


def sign(metadata: Metadata[Any], signers: Sequence[Signer]) -> None:
    """Add these signatures to those that are there."""
    for signer in signers:
        metadata.sign(signer, append=True)


def check(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> None:
    """:raises Unsound: not signed by enough of the role's keys, or no such role"""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as e:
        raise Unsound(f"{role} {metadata.signed.version}: {e}") from e


def missing(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> int:
    """How many signatures are still missing."""
    verdict = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return int(verdict.missing)


def delegator_of(role: str, root: Root, targets: Targets) -> Root | Targets:
    """Who names the keys of a role."""
    return root if role in TOP_ROLES else targets


def members_of(name: str) -> tuple[str, ...]:
    """The roles that share the keys which go under this name."""
    for kind in KINDS:
        if name == group(kind):
            return roles_of_kind(kind)
    return (name,)


def target(digest: str, size_bytes: int, path: str, custom: Mapping[str, Any]) -> TargetFile:
    """An artifact as a target."""
    fields = {"custom": dict(custom)}
    return TargetFile(size_bytes, {"sha256": digest.removeprefix("sha256:")}, path, fields)


SNAPSHOT_MEMBERS = ("targets", *ARTIFACT_ROLES)


def _role(held: KeySet) -> Role:
    return Role([key.keyid for key in held.keys], held.threshold)


def _delegated(name: str, held: KeySet, paths: list[str]) -> DelegatedRole:
    return DelegatedRole(name, [key.keyid for key in held.keys], held.threshold, True, paths=paths)


def _delegations(targets: Targets) -> Delegations:
    if targets.delegations is None:
        raise Unsound("the targets delegate to nobody")
    return targets.delegations
