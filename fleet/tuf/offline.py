"""Signing where the control plane is not: a document of what waits is read, told in words, signed, and carried back. No network, no database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet.errors import Refused
from fleet.tuf import roles
from fleet.tuf.trust import read_waiting
from wire.reasons import Reason
from wire.targets import GROUPS, STATE_ROLE

SHOWN = 12
"""Characters of a key id."""


class Papers:
    """What waits for signatures, beside what is in force."""

    def __init__(self, document: object) -> None:
        """:raises Refused: not such a document, or damaged"""
        self.waiting = read_waiting(document)
        assert isinstance(document, dict)
        self._document: dict[str, Any] = document
        self._in_force = read_waiting({**document, "waiting": document.get("in_force")})
        if not {"root", "targets"} <= set(self._in_force):
            raise Refused(
                Reason.METADATA_INVALID, "the document does not say what is in force; export it again"
            )

    def lines(self, signers: Sequence[CryptoSigner]) -> list[str]:
        """What would be signed, for a person to judge. What is in force is believed only where one of these keys has signed it."""
        own = {signer.public_key.keyid for signer in signers}
        found = []
        for role, metadata in sorted(self.waiting.items()):
            before = self._in_force.get(role)
            known = before is not None and self._believed(role, before, own)
            found.append(
                f"{role}, version {metadata.signed.version}, until {metadata.signed.expires:%Y-%m-%d}"
            )
            if not known:
                found.append("  what is in force is not signed by this key, so all of it is shown as new")
            found += [
                f"  {line}" for line in _changes(before.signed if known and before else None, metadata.signed)
            ]
        return found

    def sign(self, signers: Iterable[CryptoSigner]) -> dict[str, int]:
        """Sign everything that these keys may sign; role → how many signatures are still missing then."""
        for role, metadata in self.waiting.items():
            allowed = self._allowed(role)
            for signer in signers:
                if signer.public_key.keyid in allowed:
                    metadata.sign(signer, append=True)
        return {role: self._missing(role, metadata) for role, metadata in self.waiting.items()}

    def document(self) -> dict[str, Any]:
        """The document with the signatures it has now."""
        return {**self._document, "waiting": {role: m.to_dict() for role, m in self.waiting.items()}}

    def _delegators(self, role: str) -> list[Root | Targets]:
        """Who names the keys of a role: in the version that waits and, for a root, in the one in force too."""
        name = "root" if role in roles.TOP_ROLES else "targets"
        there = [held[name].signed for held in (self._in_force, self.waiting) if name in held]
        return there if role == "root" else there[-1:]

    def _allowed(self, role: str) -> set[str]:
        try:
            return {key for named in self._delegators(role) for key in roles.key_ids(named, role)}
        except ValueError as e:
            raise Refused(Reason.METADATA_INVALID, f"{role} is delegated by nobody: {e}") from e

    def _missing(self, role: str, metadata: Metadata[Any]) -> int:
        return max(roles.missing(named, role, metadata) for named in self._delegators(role))

    def _believed(self, role: str, metadata: Metadata[Any], own: set[str]) -> bool:
        name = "root" if role in roles.TOP_ROLES else "targets"
        named: Root | Targets = self._in_force[name].signed
        verdict = named.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        return bool(own & set(verdict.signed))


def _changes(before: Any, after: Any) -> list[str]:
    if isinstance(after, Root):
        return _key_changes(
            {name: roles.key_set(before, name) for name in roles.TOP_ROLES} if before else {},
            {name: roles.key_set(after, name) for name in roles.TOP_ROLES},
        )
    lines = _target_changes(before.targets if before else {}, after.targets)
    if after.delegations is not None:
        names = (*GROUPS, STATE_ROLE)
        lines += _key_changes(_delegated(before, names) if before else {}, _delegated(after, names))
    return lines or ["the same, for longer"]


def _delegated(targets: Targets, names: Iterable[str]) -> dict[str, roles.KeySet]:
    return {name: roles.key_set(targets, roles.members_of(name)[0]) for name in names}


def _key_changes(before: Mapping[str, roles.KeySet], after: Mapping[str, roles.KeySet]) -> list[str]:
    lines = []
    for name, held in after.items():
        old = before.get(name)
        if old is not None and _ids(old) == _ids(held) and old.threshold == held.threshold:
            continue
        was = f"{_ids(old)}, {old.threshold} must sign → " if old else ""
        lines.append(f"keys of {name}: {was}{_ids(held)}, {held.threshold} must sign")
    return lines or ["the same keys, for longer"]


def _ids(held: roles.KeySet) -> str:
    return " ".join(sorted(key.keyid[:SHOWN] for key in held.keys))


def _target_changes(before: Mapping[str, TargetFile], after: Mapping[str, TargetFile]) -> list[str]:
    lines = [f"+ {_told(after[path])}" for path in sorted(set(after) - set(before))]
    lines += [f"- {_told(before[path])}" for path in sorted(set(before) - set(after))]
    return lines + [
        f"~ {_told(after[path])}" for path in sorted(set(after) & set(before)) if after[path] != before[path]
    ]


def _told(target: TargetFile) -> str:
    custom = target.custom if isinstance(target.custom, dict) else {}
    about = " ".join(str(custom[key]) for key in ("task", "family", "precision") if key in custom)
    return (
        f"{target.path} {custom.get('name')}@{custom.get('version')} {about} {target.length} bytes".replace(
            "  ", " "
        )
    )
