"""The repository: brings metadata in line with the registry, signs what can be signed here, and renews it before it ends.

`publish` may be called at any time and any number of times: it compares what should be with what is. What cannot be signed with the keys
at hand waits (`pending`) until `take_signed` brings the signatures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from securesystemslib.signer import Key
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet import audit
from fleet.clock import Clock
from fleet.config import TrustDays
from fleet.db import Database
from fleet.errors import Misconfigured, NotFound, Refused, Transient
from fleet.tables import StoredObject, Version
from fleet.tuf import roles, shelf
from fleet.tuf.keys import KeyRing
from fleet.tuf.roles import Unsound
from wire.reasons import Reason
from wire.targets import ARTIFACT_ROLES, KINDS, STATE_ROLE, group, role_of, target_path

log = logging.getLogger(__name__)

DAY_S = 86400.0
TRIES = 5
"""Of a transaction that meets another replica's."""
CUSTOM = ("task", "family", "precision", "constraints")
"""Fields of a model's card that are signed with it."""

Wanted = dict[str, dict[str, TargetFile]]
"""Role → target path → target."""
Guard = Callable[[Session], None]


def anybody(_session: Session) -> None:
    """What a person asks for, any control plane does."""


@dataclass
class Work:
    """One run: the files as they would be, and what has changed of them."""

    files: dict[str, bytes]
    drafts: dict[str, bytes]
    brought: Mapping[str, Metadata[Any]]
    wanted: Wanted
    at_wall: float
    changed: set[str] = field(default_factory=set)
    waiting: dict[str, Metadata[Any]] = field(default_factory=dict)
    """Role → the version that lacks signatures."""

    def adopt(self, role: str, metadata: Metadata[Any]) -> None:
        self.files[role] = roles.write(metadata)
        self.changed.add(role)

    @property
    def root(self) -> Root:
        root: Root = roles.known(self.files["root"]).signed
        return root


class Repository:
    """Thread-safe; each call is one transaction."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock, days: TrustDays) -> None:
        self.keys = keys
        self._database = database
        self._clock = clock
        self._days = days
        self.on_state_keys: Callable[[tuple[str, ...]], None] = lambda _raw: None
        """Called with the hexadecimal public keys that may sign desired states, newest first, at the end of each run."""

    # --- what is there ------------------------------------------------------------------------------------------------

    def file(self, role: str, version: int | None) -> bytes:
        """A metadata file.

        :raises NotFound: no such file
        """
        with self._database.read() as session:
            content = shelf.get(session, role, version)
        if content is None:
            raise NotFound("metadata", role if version is None else f"{version}.{role}")
        return content

    def files(self) -> dict[str, bytes]:
        """Role → its newest metadata."""
        with self._database.read() as session:
            return shelf.newest(session)

    def roots(self) -> list[bytes]:
        """Every version of the root, oldest first."""
        newest = roles.version_of(self.file("root", None))
        return [self.file("root", version) for version in range(1, newest + 1)]

    def unsigned(self, artifacts: Iterable[tuple[str, str]]) -> set[str]:
        """Of these (kind, digest), the digests that no metadata vouches for yet."""
        paths = {digest: f"{kind}s/{digest.removeprefix('sha256:')}" for kind, digest in artifacts}
        with self._database.read() as session:
            signed: dict[str, Collection[str]] = {}
            for role in {role_of(path) for path in paths.values()}:
                content = shelf.get(session, role, None)
                signed[role] = roles.known(content).signed.targets if content else ()
        return {digest for digest, path in paths.items() if path not in signed[role_of(path)]}

    def state_keys(self) -> tuple[str, ...]:
        """The hexadecimal public keys that may sign desired states, newest first."""
        return _state_keys(roles.known(self.file("targets", None)).signed)

    # --- making and renewing ------------------------------------------------------------------------------------------

    def create(self, counts: Mapping[str, tuple[int, int]], state_public: Key) -> None:
        """Make keys and first metadata where there are none. `counts`: role or group → number of keys, threshold."""
        with self._database.read() as session:
            if shelf.get(session, "root", None) is not None:
                return
        held = {
            name: roles.KeySet(
                tuple(self.keys.make(name, offline=name in roles.OFFLINE_ROLES) for _ in range(count)),
                threshold,
            )
            for name, (count, threshold) in counts.items()
        }
        held[STATE_ROLE] = roles.KeySet((state_public,))
        made: dict[str, Metadata[Any]] = {
            "root": roles.new_root(held, self._end("root")),
            "targets": roles.new_targets(held, self._end("targets")),
            **{role: roles.new_artifacts(self._end(role)) for role in ARTIFACT_ROLES},
        }
        root, targets = made["root"].signed, made["targets"].signed
        with self._database.write() as session:
            for role, metadata in made.items():
                self._sign(roles.delegator_of(role, root, targets), role, metadata)
                shelf.put(session, role, 1, roles.write(metadata), self._clock.wall())
        self.publish()

    def publish(self, guard: Guard = anybody) -> set[str]:
        """Bring everything up to date; the roles that still wait for signatures. `guard` raises within the transaction where
        whoever asks may not do it any more.

        :raises Misconfigured: the keys of snapshot or timestamp are not here
        """
        return set(self._run({}, guard=guard).waiting)

    def take_signed(self, brought: Mapping[str, Metadata[Any]], actor: str) -> tuple[set[str], set[str]]:
        """Take over what was signed elsewhere; the roles that came into force, and those that still wait.

        :raises Refused: it is not what waits here, or its signatures do not hold
        """
        work = self._run(brought, actor)
        if brought and not (set(brought) & work.changed):
            why = {role: self._why(work, role, metadata) for role, metadata in brought.items()}
            raise Refused(
                Reason.METADATA_INVALID,
                "nothing of it can come into force: "
                + "; ".join(f"{role}: {text}" for role, text in why.items()),
            )
        return work.changed & set(brought), self.publish()

    def pending(self) -> dict[str, Metadata[Any]]:
        """What lacks signatures, as it is to be signed: role → metadata."""
        return self._run({}).waiting

    def _run(
        self, brought: Mapping[str, Metadata[Any]], actor: str = "system", guard: Guard = anybody
    ) -> Work:
        for _ in range(TRIES):
            try:
                with self._database.write() as session:
                    guard(session)
                    return self._transaction(session, brought, actor)
            except IntegrityError:
                log.info("another control plane was first; once more")
        raise Transient(Reason.INTERNAL, "the metadata is being changed by others all the time; try again")

    def _transaction(self, session: Session, brought: Mapping[str, Metadata[Any]], actor: str) -> Work:
        at = self._clock.wall()
        files = shelf.newest(session)
        if "root" not in files:
            raise Misconfigured(
                Reason.CONFIG_INVALID,
                "there is no trust metadata yet; run `outrider fleet init DIR --migrate`",
            )
        work = Work(files, shelf.drafts(session), brought, self._wanted(session), at)
        self._root(work)
        self._artifacts(work)
        self._online(work)
        for role in work.changed:
            shelf.put(session, role, roles.version_of(work.files[role]), work.files[role], at)
        shelf.drop_drafts(session, work.changed)
        if brought or work.changed & {"root", "targets"}:
            audit.record(session, at, actor, "trust.publish", ", ".join(sorted(work.changed))[:200] or "-")
        shelf.prune(session, work.changed, at)
        after = _state_keys(roles.known(work.files["targets"]).signed)
        self.on_state_keys(after)
        return work

    # --- root ---------------------------------------------------------------------------------------------------------

    def _root(self, work: Work) -> None:
        """Let a draft come into force once old and new keys have signed; renew the root where its keys are here."""
        old = work.root
        draft = self._draft(work, "root", old)
        if draft is None:
            return
        self._sign(old, "root", draft)
        self._sign(draft.signed, "root", draft)
        if roles.missing(old, "root", draft) or roles.missing(draft.signed, "root", draft):
            work.waiting["root"] = draft
        else:
            work.adopt("root", draft)

    def _draft(self, work: Work, role: str, old: Root | Targets) -> Metadata[Any] | None:
        """What is to become the next version of root or targets, with the signatures that came for it."""
        content = work.drafts.get(role)
        if content is None and not self._due(work, role):
            return None
        if content is not None:
            draft = roles.read(content)
        else:
            draft = roles.next_version(work.files[role], self._end(role))
        came = work.brought.get(role)
        if came is not None and came.signed.version == old.version + 1 and came.signed == draft.signed:
            draft.signatures.update(came.signatures)
        return draft

    # --- targets and artifacts ----------------------------------------------------------------------------------------

    def _artifacts(self, work: Work) -> None:
        """All of it under new top-level targets where these are ready, else under those there are."""
        old = roles.known(work.files["targets"])
        draft = self._draft(work, "targets", old.signed)
        if not _sound(work.root, "targets", old) and draft is None:
            draft = roles.next_version(work.files["targets"], self._end("targets"))
        if draft is not None:
            self._sign(work.root, "targets", draft)
            made, lacking = self._members(work, draft.signed)
            if not roles.missing(work.root, "targets", draft) and not lacking:
                work.adopt("targets", draft)
                self._keep(work, made, draft.signed)
                return
            work.waiting["targets"] = draft
            work.waiting.update({role: made[role] for role in lacking})
            if work.drafts.get("targets") is None:
                work.waiting.pop("targets")
        made, _ = self._members(work, old.signed)
        self._keep(work, made, old.signed)

    def _keep(self, work: Work, made: Mapping[str, Metadata[Any]], targets: Targets) -> None:
        for role, metadata in made.items():
            if _sound(targets, role, metadata):
                work.adopt(role, metadata)
            else:
                work.waiting.setdefault(role, metadata)

    def _members(self, work: Work, targets: Targets) -> tuple[dict[str, Metadata[Any]], set[str]]:
        """New versions of the roles that need one under these targets; and those without which these cannot come into force."""
        made, lacking = {}, set()
        for role in ARTIFACT_ROLES:
            old = roles.known(work.files[role])
            sound = _sound(targets, role, old)
            wanted = work.wanted[role]
            if sound and old.signed.targets == wanted and not self._due(work, role):
                continue
            new = self._brought(work, role, targets, old.signed.version)
            if new is None:
                new = roles.next_version(work.files[role], self._end(role))
                new.signed.targets = dict(wanted)
                self._sign(targets, role, new)
            only_due = sound and old.signed.targets == wanted
            if only_due and not _sound(targets, role, new) and not self._nearly_over(work, role):
                continue
            made[role] = new
            if not sound and not _sound(targets, role, new):
                lacking.add(role)
        return made, lacking

    def _brought(self, work: Work, role: str, targets: Targets, version: int) -> Metadata[Any] | None:
        """What came signed for a role, where it can be used: the next version, of artifacts that the registry holds."""
        came = work.brought.get(role)
        if came is None or came.signed.version != version + 1 or not isinstance(came.signed, Targets):
            return None
        held = work.wanted[role].items()
        known = all((path, target) in held for path, target in came.signed.targets.items())
        return came if known and _sound(targets, role, came) else None

    # --- snapshot and timestamp ---------------------------------------------------------------------------------------

    def _online(self, work: Work) -> None:
        root = work.root
        members = {role: work.files[role] for role in roles.SNAPSHOT_MEMBERS}
        if not self._good(work, root, "snapshot") or not roles.lists(work.files["snapshot"], members):
            version = self._next(work, "snapshot")
            self._adopt_online(
                work, root, "snapshot", roles.new_snapshot(members, version, self._end("snapshot"))
            )
        named = {"snapshot": work.files["snapshot"]}
        if not self._good(work, root, "timestamp") or not roles.lists(work.files["timestamp"], named):
            version = self._next(work, "timestamp")
            made = roles.new_timestamp(work.files["snapshot"], version, self._end("timestamp"))
            self._adopt_online(work, root, "timestamp", made)

    def _adopt_online(self, work: Work, root: Root, role: str, metadata: Metadata[Any]) -> None:
        self._sign(root, role, metadata)
        if roles.missing(root, role, metadata):
            raise Misconfigured(
                Reason.CONFIG_INVALID,
                f"no key of {role} is in this data directory; restore it from the backup",
            )
        work.adopt(role, metadata)

    def _good(self, work: Work, root: Root, role: str) -> bool:
        content = work.files.get(role)
        return content is not None and not self._due(work, role) and _sound(root, role, roles.known(content))

    def _next(self, work: Work, role: str) -> int:
        return roles.version_of(work.files[role]) + 1 if role in work.files else 1

    # --- times and keys -----------------------------------------------------------------------------------------------

    def _end(self, role: str) -> float:
        return self._clock.wall() + self._days.of(role) * DAY_S

    def _due(self, work: Work, role: str) -> bool:
        """Whether half of its life is over."""
        return roles.end_of(work.files[role]) - work.at_wall < self._days.of(role) * DAY_S / 2

    def _nearly_over(self, work: Work, role: str) -> bool:
        """Whether people should be asked for a signature, where no key of it is here."""
        return roles.end_of(work.files[role]) - work.at_wall < self._days.of(role) * DAY_S / 4

    def _sign(self, delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> None:
        roles.sign(metadata, self.keys.signers(roles.key_ids(delegator, role)))

    def _why(self, work: Work, role: str, came: Metadata[Any]) -> str:
        if role not in work.files:
            return "no such role"
        have = roles.version_of(work.files[role])
        if came.signed.version != have + 1:
            return f"version {came.signed.version} came and {have + 1} is next: export again"
        if role in work.waiting:
            targets = roles.read(work.drafts.get("targets", work.files["targets"])).signed
            delegator = roles.delegator_of(role, work.root, targets)
            return f"{roles.missing(delegator, role, came)} signature(s) are missing, or it holds other artifacts"
        return "it does not wait for signatures"

    # --- the registry -------------------------------------------------------------------------------------------------

    def _wanted(self, session: Session) -> Wanted:
        found: Wanted = {role: {} for role in ARTIFACT_ROLES}
        query = (
            select(Version, StoredObject.size_bytes)
            .join(StoredObject, StoredObject.digest == Version.digest)
            .order_by(Version.created_at, Version.name, Version.version)
        )
        for version, size_bytes in session.execute(query):
            if version.kind not in KINDS:
                continue
            path = target_path(version.kind, version.digest)
            custom = {"name": version.name, "version": version.version} | {
                key: version.card[key] for key in CUSTOM if version.card.get(key)
            }
            made = roles.target(version.digest, size_bytes, path, custom)
            found[role_of(path)].setdefault(path, made)
        return found


def counts(
    root: tuple[int, int], targets: tuple[int, int], artifacts: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """How many keys a new repository gets, and how many of them must sign."""
    online = dict.fromkeys(("snapshot", "timestamp"), (1, 1))
    return {"root": root, "targets": targets, **online, **{group(kind): artifacts for kind in KINDS}}


def _state_keys(targets: Targets) -> tuple[str, ...]:
    held = roles.key_set(targets, STATE_ROLE)
    return tuple(str(key.keyval["public"]) for key in held.keys)


def _sound(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    try:
        roles.check(delegator, role, metadata)
    except Unsound:
        return False
    return True
