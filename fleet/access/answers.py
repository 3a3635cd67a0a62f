"""Answers kept for requests that are repeated under the same idempotency key.

An answer may hold a token that is shown once, so it is sealed with a key made of the asker's credential and the idempotency key;
the database has neither. Only the same asker with the same request gets it again.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete

from fleet.access.tables import KeptAnswer
from fleet.clock import Clock
from fleet.db import Database, insert_ignoring
from fleet.errors import Refused, Taken
from wire.reasons import Reason

KEPT_S = 24 * 3600.0
RUNNING_S = 1800.0
"""An answer that did not come in this time never will: its process died. An upload's check is answered before."""
NONCE_BYTES = 12


@dataclass(frozen=True)
class Asked:
    """A request under an idempotency key: whose, which key, and what it asks."""

    credential: str
    key: str
    request: bytes

    @property
    def row(self) -> str:
        return hashlib.sha256(f"{self.credential}\0{self.key}".encode()).hexdigest()

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.request).hexdigest()

    def cipher(self) -> ChaCha20Poly1305:
        secret = f"{self.credential}\0{self.key}".encode()
        return ChaCha20Poly1305(HKDF(SHA256(), 32, None, b"outrider kept answer").derive(secret))


class KeptAnswers:
    """Keeps and gives back answers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, asked: Asked) -> bytes | None:
        """The answer given before; None where there is none, and this request is now the one that is worked on.

        :raises Refused: the key was used for another request
        :raises Taken: the same request is being worked on
        """
        at = self._clock.wall()
        row = {"key": asked.row, "request": asked.digest, "expires_at": at + RUNNING_S}
        with self._database.write(alone=False) as session:
            session.execute(delete(KeptAnswer).where(KeptAnswer.key == asked.row, KeptAnswer.expires_at < at))
            if insert_ignoring(session, KeptAnswer, [row]):
                return None
            kept = session.get_one(KeptAnswer, asked.row)
            if kept.request != asked.digest:
                raise Refused(
                    Reason.KEY_REUSED, f"the idempotency key {asked.key!r} belongs to another request"
                )
            if kept.sealed is None:
                raise Taken(
                    Reason.STILL_RUNNING, f"the request with the key {asked.key!r} is being worked on"
                )
            sealed = kept.sealed
        try:
            return asked.cipher().decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag as e:
            raise Refused(Reason.KEY_REUSED, "the kept answer cannot be opened; use a new key") from e

    def keep(self, asked: Asked, answer: bytes) -> None:
        """The request is done; its answer will be given again for a day."""
        nonce = os.urandom(NONCE_BYTES)
        with self._database.write(alone=False) as session:
            row = session.get(KeptAnswer, asked.row)
            if row is not None:
                row.sealed = nonce + asked.cipher().encrypt(nonce, answer, None)
                row.expires_at = self._clock.wall() + KEPT_S

    def drop(self, asked: Asked) -> None:
        """The request was refused, so that nothing happened; it may be tried again under its key."""
        with self._database.write(alone=False) as session:
            session.execute(
                delete(KeptAnswer).where(KeptAnswer.key == asked.row, KeptAnswer.sealed.is_(None))
            )

    def forget_old(self) -> None:
        with self._database.write(alone=False) as session:
            session.execute(delete(KeptAnswer).where(KeptAnswer.expires_at < self._clock.wall()))
