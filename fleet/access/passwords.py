"""Passwords: argon2id, in memory-hard work that is bounded; what is too weak is refused."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from fleet.errors import Refused
from wire.reasons import Reason

FEWEST_CHARACTERS = 12
MOST_CHARACTERS = 256
FEWEST_DIFFERENT = 5
AT_ONCE = 2
"""One hash takes 64 MiB and some 50 ms; a crowd that signs in waits instead of filling the memory."""


class Passwords:
    """Hashes and compares. Thread-safe."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._nobody = self._hasher.hash("the password of nobody")

    def hash(self, password: str, name: str) -> str:
        """:raises Refused: too weak to be the password of the user `name`"""
        if (complaint := weakness(password, name)) is not None:
            raise Refused(Reason.PASSWORD_WEAK, f"the password {complaint}")
        with self._turns:
            return self._hasher.hash(password)

    def fits(self, password: str, hashed: str | None) -> bool:
        """Takes the same time for a user that does not exist (`hashed` None): names cannot be told apart by it."""
        if len(password) > MOST_CHARACTERS:
            return False
        with self._turns:
            try:
                self._hasher.verify(hashed or self._nobody, password)
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
        return hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash was made with weaker settings than today's."""
        return self._hasher.check_needs_rehash(hashed)


def weakness(password: str, name: str) -> str | None:
    """What is wrong with a password; None where nothing is."""
    if len(password) < FEWEST_CHARACTERS:
        return f"has {len(password)} characters; at least {FEWEST_CHARACTERS} are needed"
    if len(password) > MOST_CHARACTERS:
        return f"has {len(password)} characters; at most {MOST_CHARACTERS} are allowed"
    if len(set(password)) < FEWEST_DIFFERENT:
        return f"has fewer than {FEWEST_DIFFERENT} different characters"
    if name.lower() in password.lower():
        return "contains the user's name"
    return None
