"""Private keys of the update framework, as PEM files: Ed25519, one key a file, named by role and the beginning of its id.

What lies in the data directory is online. A key that is moved away is offline, and nothing else has to be told so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from fleet.errors import Misconfigured
from fleet.files import write_atomic
from wire.reasons import Reason

ID_CHARACTERS = 8


class KeyRing:
    """The keys of a data directory: `online` folders are read anew at each question, because people move files."""

    def __init__(self, online: Path, offline: Path) -> None:
        """New keys of roles that belong offline are made in `offline`, all others in `online`."""
        self._online = online
        self._offline = offline
        self._parsed: dict[bytes, CryptoSigner] = {}

    def make(self, role: str, *, offline: bool = False) -> SSlibKey:
        """A new key for a role.

        :raises OSError: it cannot be written
        """
        folder = self._offline if offline else self._online
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return make_key(folder, role)

    def signers(self, key_ids: Iterable[str]) -> list[CryptoSigner]:
        """Of these keys, those that are here.

        :raises Misconfigured: a key file cannot be used
        """
        found = {signer.public_key.keyid: signer for _, signer in self._all()}
        return [found[key_id] for key_id in key_ids if key_id in found]

    def paths(self) -> Mapping[str, Path]:
        """Key id → its file, of every key that is here."""
        return {signer.public_key.keyid: path for path, signer in self._all()}

    def _all(self) -> list[tuple[Path, CryptoSigner]]:
        files = [
            path for folder in (self._online, self._offline) for path in sorted(folder.glob("tuf-*.pem"))
        ]
        contents = [(path, _content(path)) for path in files]
        self._parsed = {
            content: self._parsed.get(content) or _signer(path, content) for path, content in contents
        }
        return [(path, self._parsed[content]) for path, content in contents]


def make_key(folder: Path, role: str) -> SSlibKey:
    """Write a new private key for a role into a folder, 0600, and beside it nothing: its public half is in it."""
    private = Ed25519PrivateKey.generate()
    public = SSlibKey.from_crypto(private.public_key())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(folder / f"tuf-{role}-{public.keyid[:ID_CHARACTERS]}.pem", pem, 0o600)
    return public


def load_key(path: Path) -> CryptoSigner:
    """:raises Misconfigured: the file is missing, readable by others, or no Ed25519 key"""
    return _signer(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Misconfigured(
                    Reason.CONFIG_INVALID, f"{path} can be read by others; run `chmod 600 {path}`"
                )
            return file.read()
    except OSError as e:
        raise _unreadable(path, e) from e


def _signer(path: Path, content: bytes) -> CryptoSigner:
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError) as e:
        raise _unreadable(path, e) from e
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(Reason.CONFIG_INVALID, f"{path} is not an Ed25519 key")
    return CryptoSigner(key)


def _unreadable(path: Path, error: Exception) -> Misconfigured:
    return Misconfigured(Reason.CONFIG_INVALID, f"{path} is no readable private key: {error}")


def public_pem(key_file: Path) -> str:
    """The public half of a private key file, PEM.

    :raises Misconfigured: the file cannot be used
    """
    public = load_key(key_file)._private_key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def from_public_pem(text: str) -> SSlibKey:
    """:raises ValueError: no public key in PEM, or not an Ed25519 key"""
    try:
        key = load_pem_public_key(text.encode())
    except UnsupportedAlgorithm as e:
        raise ValueError(str(e)) from e
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key; make one with `outrider fleet keys make`")
    return SSlibKey.from_crypto(key)


def from_raw(raw: bytes) -> SSlibKey:
    """An Ed25519 public key of 32 bytes."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))
