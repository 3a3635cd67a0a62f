"""The device's private keys. They are made here and never leave the device; whatever needs one asks this module's `Keys`.

`Keys` is the seam for keys in a TPM or behind PKCS#11: its operations are what such hardware offers. `FileKeys`, files that only
the owner can read, is the implementation there is.
"""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from agent.errors import ConfigRefused
from agent.files import DISK, Disk, write_atomic
from wire import proof
from wire.reasons import Reason

SIGNING_FILE = "device-key.pem"
SEALING_FILE = "sealing-key.pem"
TLS_FILE = "device-tls.pem"
NEXT_FILE = "device-tls-next.pem"


class Keys(Protocol):
    """What is done with the device's private keys.

    Each may raise `ConfigRefused` (a key cannot be used) and `OSError` (a key or certificate cannot be written).
    """

    def signing_public(self) -> str:
        """The Ed25519 public key, base64; made on first use."""

    def sealing_public(self) -> str:
        """The X25519 public key, base64; made on first use."""

    def token(self, device: str, at_wall: float) -> str:
        """A short-lived token (`wire.proof`), signed."""

    def unseal(self, device: str, name: str, sealed_text: str) -> str:
        """A secret that was sealed to this device (`wire.sealed`).

        :raises wire.errors.Refused: it was not
        """

    def request(self) -> str:
        """A signing request in PEM for a new TLS key, which is put to use by `install`."""

    def install(self, chain: str) -> None:
        """Put the certificate of the last request to use, in one step with its key."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let new connections of the context show the certificate; nothing where there is none."""

    def certificate(self) -> bytes | None:
        """The certificate chain in use, PEM."""


class FileKeys:
    """Keys as files of the state directory, mode 0600."""

    def __init__(self, state_dir: Path, disk: Disk = DISK) -> None:
        self._dir = state_dir
        self._disk = disk

    def signing_public(self) -> str:
        return _public(self._signing())

    def sealing_public(self) -> str:
        return _public(self._sealing())

    def token(self, device: str, at_wall: float) -> str:
        return proof.make(device, self._signing(), at_wall)

    def unseal(self, device: str, name: str, sealed_text: str) -> str:
        from wire import sealed

        return sealed.unseal(self._sealing(), device, name, sealed_text)

    def request(self) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        key = generate_private_key(SECP256R1())
        write_atomic(self._dir / NEXT_FILE, _pem(key), 0o600, disk=self._disk)
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        return request.public_bytes(Encoding.PEM).decode()

    def install(self, chain: str) -> None:
        from cryptography import x509

        path = self._dir / NEXT_FILE
        key: EllipticCurvePrivateKey = self._read(path, EllipticCurvePrivateKey)
        try:
            fits = x509.load_pem_x509_certificates(chain.encode())[0].public_key() == key.public_key()
        except ValueError as e:
            raise ConfigRefused(Reason.CERTIFICATE_INVALID, f"the certificate that came is none: {e}") from e
        if not fits:
            raise ConfigRefused(Reason.CERTIFICATE_INVALID, "the certificate that came is for another key")
        write_atomic(self._dir / TLS_FILE, _pem(key) + chain.encode(), 0o600, disk=self._disk)
        self._disk.remove(path)

    def load_into(self, context: ssl.SSLContext) -> None:
        path = self._dir / TLS_FILE
        if not path.exists():
            return
        try:
            context.load_cert_chain(path)
        except (ssl.SSLError, OSError) as e:
            raise ConfigRefused(
                Reason.CERTIFICATE_INVALID, f"{path} cannot be used ({e}); enrol the device again"
            ) from e

    def certificate(self) -> bytes | None:
        try:
            content = (self._dir / TLS_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return content[content.index(b"-----BEGIN CERTIFICATE") :]

    def _signing(self) -> Ed25519PrivateKey:
        key: Ed25519PrivateKey = self._key(SIGNING_FILE, Ed25519PrivateKey)
        return key

    def _sealing(self) -> X25519PrivateKey:
        key: X25519PrivateKey = self._key(SEALING_FILE, X25519PrivateKey)
        return key

    def _key(self, name: str, kind: Any) -> Any:
        path = self._dir / name
        if path.exists():
            return self._read(path, kind)
        made = kind.generate()
        write_atomic(path, _pem(made), 0o600, disk=self._disk)
        return made

    def _read(self, path: Path, kind: Any) -> Any:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, OSError) as e:
            raise ConfigRefused(
                Reason.CONFIG_INVALID, f"{path} is no key ({e}); remove it and enrol again"
            ) from e
        if not isinstance(key, kind):
            raise ConfigRefused(
                Reason.CONFIG_INVALID, f"{path} is no {kind.__name__}; remove it and enrol again"
            )
        return key


def _public(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem
