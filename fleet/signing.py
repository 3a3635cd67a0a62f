"""The key that signs desired state and commands: Ed25519, made by `init`, in a file only its owner can read."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fleet.errors import Misconfigured
from fleet.files import write_atomic
from wire import command, desired, dsse
from wire.reasons import Reason

AUDIT_HEAD_TYPE = "application/vnd.outrider.audit-head+json"


class Signer:
    """Signs documents. The one place that touches the private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._trusted: tuple[bytes, ...] = (dsse.public_bytes(key),)
        self.before_signing: Callable[[], None] = lambda: None
        """Called first: another replica may have changed the key."""

    def use(self, trusted: Sequence[bytes], held: Iterable[Ed25519PrivateKey]) -> bool:
        """Sign from now on with the first of the trusted public keys whose private half is held; whether it is another one."""
        self._trusted = tuple(trusted) or self._trusted
        by_public = {dsse.public_bytes(key): key for key in (*held, self._key)}
        before = self._key
        self._key = next((by_public[raw] for raw in trusted if raw in by_public), self._key)
        return dsse.public_bytes(before) != dsse.public_bytes(self._key)

    @property
    def public_keys(self) -> dict[str, bytes]:
        """Key id → raw public key, of all that devices are to believe."""
        return {dsse.key_id(raw): raw for raw in self._trusted}

    @property
    def state_keys(self) -> dict[str, str]:
        """The same in base64, as they travel at enrolment."""
        return {name: base64.b64encode(raw).decode() for name, raw in self.public_keys.items()}

    def desired(self, document: desired.Desired) -> dict[str, Any]:
        self.before_signing()
        return desired.sign(document, self._key)

    def command(self, request: command.Command) -> dict[str, Any]:
        self.before_signing()
        return command.sign(request, self._key)

    def audit_head(self, head: dict[str, Any]) -> dict[str, Any]:
        """The end of the audit log, for whoever keeps it elsewhere."""
        return dsse.sign(head, AUDIT_HEAD_TYPE, self._key)


def create_key(path: Path) -> None:
    """Make the key where there is none yet; an existing one is never replaced, because devices have pinned it."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem, 0o600)


def load_signer(path: Path) -> Signer:
    """:raises Misconfigured: the file is missing, readable by others, or no Ed25519 key"""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Misconfigured(
                    Reason.CONFIG_INVALID, f"{path} can be read by others; run `chmod 600 {path}`"
                )
            key = load_pem_private_key(file.read(), password=None)
    except FileNotFoundError as e:
        raise Misconfigured(
            Reason.CONFIG_INVALID, f"the state-signing key {path} is missing; restore it from the backup"
        ) from e
    except ValueError as e:
        raise Misconfigured(Reason.CONFIG_INVALID, f"{path} is no private key: {e}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(Reason.CONFIG_INVALID, f"{path} is not an Ed25519 key")
    return Signer(key)
