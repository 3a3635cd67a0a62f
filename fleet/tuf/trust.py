"""What the control plane does with trust metadata: publishes it, changes keys, hands out what people sign, says what is amiss."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from tuf.api.metadata import Metadata, Root, Targets

from fleet import shapes
from fleet.clock import Clock
from fleet.config import DataDir, TrustDays
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.signing import Signer
from fleet.tuf import roles
from fleet.tuf.keys import KeyRing, from_raw, load_key
from fleet.tuf.repository import Guard, Repository, anybody
from fleet.tuf.rotation import Change, Rotation
from wire.reasons import Reason
from wire.targets import GROUPS, STATE_ROLE

log = logging.getLogger(__name__)

NAMES = (*roles.TOP_ROLES, *GROUPS)
OFFLINE_WANTED = ("root", "targets", *GROUPS)
"""Whose keys do not belong on a machine that answers to the network."""
SOON_DAYS = 30.0
HEED_S = 5.0
"""Before signing, the state key is looked up at most this often."""
DAY_S = 86400.0


class Trust:
    """Thread-safe; calls take a transaction each."""

    def __init__(
        self, data: DataDir, database: Database, clock: Clock, days: TrustDays, signer: Signer
    ) -> None:
        self.keys = KeyRing(data.trust_keys, data.offline)
        self.repository = Repository(database, self.keys, clock, days)
        self._rotation = Rotation(database, self.keys, clock, days)
        self._signer = signer
        self._clock = clock
        self._days = days
        self._signs_anew = False
        self._heeded_mono = -HEED_S
        self.repository.on_state_keys = self._use
        signer.before_signing = self._heed

    def create(self, counts: Mapping[str, tuple[int, int]], state_public: bytes) -> None:
        """Keys and first metadata, where there are none."""
        self.repository.create(counts, from_raw(state_public))

    def publish(self, guard: Guard = anybody) -> set[str]:
        """Bring metadata up to date; the roles that wait for signatures.

        :raises FleetError: what `guard` raises; then nothing is written
        """
        waiting = self.repository.publish(guard)
        if waiting:
            log.warning("trust metadata waits for signatures", extra={"roles": sorted(waiting)})
        return waiting

    def rotate(self, change: Change, actor: str) -> set[str]:
        self._rotation.rotate(change, actor)
        return self.publish()

    def revoke(self, key_id: str, actor: str) -> tuple[list[str], set[str]]:
        losing = self._rotation.revoke(key_id, actor)
        return losing, self.publish()

    def pending(self) -> dict[str, Any]:
        """What waits, as a document to be carried to where the keys are: drafts, and what is in force now to compare with."""
        waiting = self.repository.pending()
        now = self.repository.files()
        known = {role: now[role] for role in {"root", "targets", *waiting}}
        return {
            "kind": PENDING_KIND,
            "waiting": {role: metadata.to_dict() for role, metadata in waiting.items()},
            "in_force": {role: roles.read(content).to_dict() for role, content in known.items()},
        }

    def take_signed(self, document: object, actor: str) -> tuple[set[str], set[str]]:
        """:raises Refused: no such document, or nothing of it can come into force"""
        return self.repository.take_signed(read_waiting(document), actor)

    def new_state_key(self) -> bool:
        """Whether another state key signs since the last question: everything it signed is to be signed anew."""
        changed, self._signs_anew = self._signs_anew, False
        return changed

    def _heed(self) -> None:
        """Take over a state key that another control plane on this database has made."""
        if self._clock.mono() - self._heeded_mono < HEED_S:
            return
        self.follow()

    def follow(self) -> None:
        """Sign with the state key that is in force, whoever has brought it there."""
        self._heeded_mono = self._clock.mono()
        try:
            self._use(self.repository.state_keys())
        except NotFound:
            log.debug("there is no trust metadata yet")

    def _use(self, publics: tuple[str, ...]) -> None:
        held = [
            load_key(path)._private_key
            for path in self.keys.paths().values()
            if path.name.startswith(f"tuf-{STATE_ROLE}-")
        ]
        trusted = [bytes.fromhex(text) for text in publics]
        if self._signer.use(trusted, held):  # type: ignore[arg-type]
            log.warning("desired states are signed with another key from now on")
            self._signs_anew = True

    # --- how it is ----------------------------------------------------------------------------------------------------

    def status(self) -> shapes.TrustStatus:
        """Every role with its version, end, threshold and keys, what waits, and warnings."""
        now = {role: roles.read(content) for role, content in self.repository.files().items()}
        root, targets = now["root"].signed, now["targets"].signed
        waiting = sorted(self.repository.pending())
        return {
            "roles": [self._role(name, root, targets, now) for name in (*NAMES, STATE_ROLE)],
            "waiting": waiting,
            "warnings": self._warnings(root, targets, now, waiting),
        }

    def _role(
        self, name: str, root: Root, targets: Targets, now: Mapping[str, Metadata[Any]]
    ) -> shapes.TrustRoleView:
        members = [now[role].signed for role in roles.members_of(name) if role in now]
        held = roles.key_set(_delegator(name, root, targets), roles.members_of(name)[0])
        here = self.keys.paths()
        own = {key_id for key_id, _ in self._signer_ids()}
        return {
            "role": name,
            "version": max((signed.version for signed in members), default=None),
            "expires_at": min((signed.expires.timestamp() for signed in members), default=None),
            "threshold": held.threshold,
            "keys": [{"id": key.keyid, "online": key.keyid in here or key.keyid in own} for key in held.keys],
        }

    def _signer_ids(self) -> list[tuple[str, bytes]]:
        return [(from_raw(raw).keyid, raw) for raw in self._signer.public_keys.values()]

    def _warnings(
        self, root: Root, targets: Targets, now: Mapping[str, Metadata[Any]], waiting: list[str]
    ) -> list[shapes.TrustWarning]:
        found = []
        here = self.keys.paths()
        for name in OFFLINE_WANTED:
            held = roles.key_set(_delegator(name, root, targets), roles.members_of(name)[0])
            online = [str(here[key.keyid]) for key in held.keys if key.keyid in here]
            if len(online) >= held.threshold:
                text = f"enough keys of {name} are on this machine: who takes it over can sign {_what(name)}"
                found.append(_warning(name, text, f"move {', '.join(online)} to a medium in a safe"))
        for name in NAMES:
            for role in roles.members_of(name):
                left_days = (now[role].signed.expires.timestamp() - self._clock.wall()) / DAY_S
                if left_days < min(SOON_DAYS, self._days.of(role) / 4):
                    text = f"{role} ends in {left_days:.0f} days"
                    found.append(_warning(role, text, "outrider fleet sign export"))
        if waiting:
            text = f"waiting for signatures: {', '.join(waiting)}"
            found.append(_warning("waiting", text, "outrider fleet sign export, sign, import"))
        return found


def _warning(what: str, message: str, remedy: str) -> shapes.TrustWarning:
    return {"what": what, "message": message, "remedy": remedy}


PENDING_KIND = "outrider-trust-pending"


def read_waiting(document: object) -> dict[str, Metadata[Any]]:
    """What a document of `pending` holds to be signed, with the signatures it has got.

    :raises Refused: no such document
    """
    if not isinstance(document, dict) or document.get("kind") != PENDING_KIND:
        raise Refused(
            Reason.METADATA_INVALID, "not a document of `outrider fleet sign export`, or one that is damaged"
        )
    found = {}
    waiting = document.get("waiting")
    for role, body in (waiting if isinstance(waiting, dict) else {}).items():
        try:
            found[str(role)] = Metadata[Any].from_dict(copy.deepcopy(body))  # it takes what it reads apart
        except Exception as e:  # of whatever it consists, it is no metadata
            raise Refused(Reason.METADATA_INVALID, f"{role} is no metadata: {type(e).__name__}: {e}") from e
    return found


def _delegator(name: str, root: Root, targets: Targets) -> Root | Targets:
    return root if name in roles.TOP_ROLES else targets


def _what(name: str) -> str:
    if name in ("root", "targets"):
        return "for everything"
    return f"{name} of his own"
