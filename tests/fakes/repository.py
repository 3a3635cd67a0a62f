"""A repository of trust metadata in memory, with every key at hand: it rotates, rewinds, tampers and lies, with no socket.

It is a `Source` of `agent.metadata`. What is served is `files`, by the names under consistent snapshots; `publish` makes it from what
the repository is to hold. An attack changes `files`, or signs with keys that were stolen.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from agent.errors import MetadataRefused
from fleet.tuf import roles
from fleet.tuf.roles import KeySet
from wire.reasons import Reason
from wire.targets import ARTIFACT_ROLES, GROUPS, STATE_ROLE, Kind, role_of, target_path

DAY_S = 86400.0
NAMES = (*roles.TOP_ROLES, *GROUPS, STATE_ROLE)


class Repository:
    """`now_wall` is the time at which metadata is made; it lives `days`."""

    def __init__(
        self, now_wall: float = 1_000_000.0, thresholds: dict[str, tuple[int, int]] | None = None
    ) -> None:
        """`thresholds`: role or group → number of keys, how many must sign."""
        self.now_wall = now_wall
        self.days = 30.0
        wanted = tuple((thresholds or {}).get(name, (1, 1)) for name in NAMES)
        self.thresholds = {name: least for name, (_, least) in zip(NAMES, wanted, strict=True)}
        keys, made = _first(now_wall + 365 * DAY_S, wanted)
        self.keys = {name: list(held) for name, held in keys.items()}
        self.now: dict[str, Metadata[Any]] = pickle.loads(made)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before_answer: Callable[[str], None] = lambda _name: None
        self.publish()

    # --- a Source -----------------------------------------------------------------------------------------------------

    async def metadata(self, name: str, max_bytes: int) -> bytes | None:
        self.asked.append(name)
        self.before_answer(name)
        content = self.files.get(name)
        if content is not None and len(content) > max_bytes:
            raise MetadataRefused(Reason.ENDLESS_DATA, f"{name} goes on after {max_bytes} bytes")
        return content

    # --- an honest repository -----------------------------------------------------------------------------------------

    @property
    def root_1(self) -> bytes:
        return self.files["1.root.json"]

    def key_set(self, name: str) -> KeySet:
        return KeySet(tuple(key.public_key for key in self.keys[name]), self.thresholds[name])

    def sign(self, role: str, keys: list[CryptoSigner] | None = None) -> None:
        """Sign the present version of a role anew, by default with all its keys."""
        metadata = self.now[role]
        metadata.signatures.clear()
        roles.sign(metadata, keys if keys is not None else self.keys[group_of(role)])

    def add(self, content: bytes, kind: Kind = "model") -> str:
        """Vouch for an artifact; its digest."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        path = target_path(kind, digest)
        self.change(
            role_of(path),
            lambda signed: signed.targets.update({path: roles.target(digest, len(content), path, {})}),
        )
        return digest

    def change(self, role: str, how: Callable[[Any], None] = lambda _signed: None) -> None:
        """The next version of a role, signed, not yet published."""
        signed = self.now[role].signed
        signed.version += 1
        signed.expires = roles.at(self.now_wall + 365 * DAY_S)
        how(signed)
        self.sign(role)

    def publish(self) -> None:
        """A new snapshot and timestamp of what there is, and everything served under its name."""
        end_wall = self.now_wall + self.days * DAY_S
        members = {role: roles.write(self.now[role]) for role in roles.SNAPSHOT_MEMBERS}
        version = self.now["snapshot"].signed.version + 1 if "snapshot" in self.now else 1
        self.now["snapshot"] = roles.new_snapshot(members, version, end_wall)
        self.sign("snapshot")
        self.stamp()
        for role, metadata in self.now.items():
            if role != "timestamp":
                self.files[f"{metadata.signed.version}.{role}.json"] = roles.write(metadata)

    def stamp(self, version: int | None = None) -> None:
        """A new timestamp of the present snapshot."""
        if version is None:
            version = self.now["timestamp"].signed.version + 1 if "timestamp" in self.now else 1
        end_wall = self.now_wall + self.days * DAY_S
        self.now["timestamp"] = roles.new_timestamp(roles.write(self.now["snapshot"]), version, end_wall)
        self.sign("timestamp")
        self.files["timestamp.json"] = roles.write(self.now["timestamp"])

    def rotate(self, *names: str, count: int = 1, threshold: int = 1) -> None:
        """Give roles new keys, and publish. Root and delegations are signed by those who name them."""
        old_root = self.keys["root"]
        for name in names:
            self.keys[name] = [new_key() for _ in range(count)]
            self.thresholds[name] = threshold
        if any(name in roles.TOP_ROLES for name in names):
            self.change("root", lambda root: self._rename(root, names, roles.TOP_ROLES))
            roles.sign(self.now["root"], [key for key in old_root if key not in self.keys["root"]])
        if any(name not in roles.TOP_ROLES or name == "targets" for name in names):
            self.change("targets", lambda targets: self._rename(targets, names, (*GROUPS, STATE_ROLE)))
        for name in set(names) & set(GROUPS):
            for role in roles.members_of(name):
                self.change(role)
        self.publish()

    def _rename(self, delegator: Any, names: tuple[str, ...], known: tuple[str, ...]) -> None:
        for name in set(names) & set(known):
            roles.set_keys(delegator, roles.members_of(name), self.key_set(name))

    # --- a dishonest one ----------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, bytes]:
        """What is served just now, to be served again later."""
        return copy.copy(self.files)

    def tamper(self, name: str, old: bytes, new: bytes) -> None:
        """Change bytes of a file that is served."""
        assert old in self.files[name], self.files[name]
        self.files[name] = self.files[name].replace(old, new)


def new_key() -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.generate())


def group_of(role: str) -> str:
    """Under which name the keys of a role go."""
    return role.partition("-")[0]


@lru_cache(maxsize=8)
def _first(
    end_wall: float, wanted: tuple[tuple[int, int], ...]
) -> tuple[dict[str, list[CryptoSigner]], bytes]:
    """Keys, and the first metadata they have signed, pickled: the same for every repository that begins alike."""
    keys = {name: [new_key() for _ in range(count)] for name, (count, _) in zip(NAMES, wanted, strict=True)}
    held = {
        name: KeySet(tuple(key.public_key for key in keys[name]), least)
        for name, (_, least) in zip(NAMES, wanted, strict=True)
    }
    made: dict[str, Metadata[Any]] = {
        "root": roles.new_root(held, end_wall),
        "targets": roles.new_targets(held, end_wall),
        **{role: roles.new_artifacts(end_wall) for role in ARTIFACT_ROLES},
    }
    for role, metadata in made.items():
        roles.sign(metadata, keys[group_of(role)])
    return keys, pickle.dumps(made)
