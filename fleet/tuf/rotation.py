"""Other keys for a role: drafts of root and targets, which come into force once those who must sign have signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Key
from sqlalchemy.orm import Session
from tuf.api.metadata import Metadata, Root, Targets

from fleet import audit
from fleet.clock import Clock
from fleet.config import TrustDays
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.tuf import roles, shelf
from fleet.tuf.keys import KeyRing, from_public_pem
from fleet.tuf.roles import KeySet
from wire.problem import nearest
from wire.reasons import Reason
from wire.targets import GROUPS, STATE_ROLE

DAY_S = 86400.0
NAMES = (*roles.TOP_ROLES, *GROUPS, STATE_ROLE)


@dataclass(frozen=True)
class Change:
    """Other keys for the role or group `name`. `public`: keys made elsewhere, PEM; none makes as many here as there were.
    `threshold` None leaves it. `keep`: the keys there are go on being good beside the new ones."""

    name: str
    public: tuple[str, ...] = ()
    threshold: int | None = None
    keep: bool = False


class Rotation:
    """Writes drafts; `Repository.publish` lets them come into force."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock, days: TrustDays) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._days = days

    def rotate(self, change: Change, actor: str) -> None:
        """Draft other keys for a role.

        :raises NotFound: no such role
        :raises Refused: a key is none, or the threshold cannot be reached
        """
        if change.name not in NAMES:
            raise NotFound("role", change.name, nearest(change.name, NAMES) or f"one of {', '.join(NAMES)}")
        public = [_public(text) for text in change.public]

        def new(held: KeySet) -> KeySet:
            made: Sequence[Key] = public or [
                self._make(change.name) for _ in held.keys[: 1 if _single(change.name) else None]
            ]
            kept = held.keys if change.keep or change.name == STATE_ROLE else ()
            return _checked(KeySet((*made, *kept), change.threshold or held.threshold))

        with self._database.write() as session:
            self._redraft(session, change.name, new)
            audit.record(session, self._clock.wall(), actor, "trust.rotate", change.name)

    def revoke(self, key_id: str, actor: str) -> list[str]:
        """Draft the end of a key, named by its id or the beginning of it; the roles that lose it.

        :raises NotFound: no role has such a key
        :raises Refused: too few keys would be left
        """
        with self._database.write() as session:
            files = shelf.newest(session)
            root, targets = roles.read(files["root"]).signed, roles.read(files["targets"]).signed
            held = {
                name: roles.key_set(_delegator(name, root, targets), roles.members_of(name)[0])
                for name in NAMES
            }
            losing = [name for name in NAMES if any(key.keyid.startswith(key_id) for key in held[name].keys)]
            if not losing or not key_id:
                raise NotFound("key", key_id, "see `outrider fleet keys list`")
            for name in losing:
                self._redraft(
                    session,
                    name,
                    lambda old: _checked(
                        KeySet(
                            tuple(key for key in old.keys if not key.keyid.startswith(key_id)), old.threshold
                        )
                    ),
                )
            audit.record(session, self._clock.wall(), actor, "trust.revoke", key_id, roles=losing)
        return losing

    def _redraft(self, session: Session, name: str, new: Callable[[KeySet], KeySet]) -> None:
        """Change the keys of a role in the draft of who names them, beginning one where there is none."""
        delegating = "root" if name in roles.TOP_ROLES else "targets"
        files, drafts = shelf.newest(session), shelf.drafts(session)
        at = self._clock.wall()
        if delegating in drafts:
            draft: Metadata[Any] = roles.read(drafts[delegating])
            draft.signatures.clear()
        else:
            end = at + self._days.of(delegating) * DAY_S
            draft = roles.next_version(files[delegating], end)
        members = roles.members_of(name)
        roles.set_keys(draft.signed, members, new(roles.key_set(draft.signed, members[0])))
        shelf.put_draft(session, delegating, roles.write(draft), at)

    def _make(self, name: str) -> Key:
        return self._keys.make(name, offline=name in roles.OFFLINE_ROLES)


def _delegator(name: str, root: Root, targets: Targets) -> Root | Targets:
    return root if name in roles.TOP_ROLES else targets


def _single(name: str) -> bool:
    """Roles that sign by themselves need no second key."""
    return name in ("snapshot", "timestamp", STATE_ROLE)


def _public(text: str) -> Key:
    try:
        return from_public_pem(text)
    except (ValueError, TypeError) as e:
        raise Refused(Reason.INVALID_FIELD, f"no public key in PEM: {e}") from e


def _checked(held: KeySet) -> KeySet:
    distinct = {key.keyid for key in held.keys}
    if 1 <= held.threshold <= len(distinct):
        return held
    raise Refused(
        Reason.INVALID_FIELD,
        f"{held.threshold} signature(s) cannot be had from {len(distinct)} key(s): rotate the role instead, with more keys "
        "or a lower threshold",
    )
