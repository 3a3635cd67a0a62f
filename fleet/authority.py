"""The authority over identities: a root that devices pin and that belongs offline, and an issuing authority that it signed.

The issuing key is online, because certificates are renewed without a person. It can make certificates and nothing else; the
root's key is needed only to make another issuing authority. Keys are ECDSA P-256, which TPMs, browsers and every TLS library know.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.clock import Clock
from fleet.errors import Misconfigured, Refused
from fleet.files import write_atomic
from wire.enrol import fingerprint
from wire.reasons import Reason

DAY_S = 86400.0
ROOT_DAYS = 20 * 365.0
ISSUING_DAYS = 5 * 365.0
SERVER_DAYS = 90.0
REVOCATION_DAYS = 30.0
"""A revocation list that is older makes the broker refuse everybody, so it is made anew every hour."""
BACKDATE_S = 3600.0
"""Certificates begin this much before their making, for clocks that are behind; a tenth of their life at most."""
RENEW_AT = 2 / 3
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Issued:
    """A certificate: `chain` is PEM, its own certificate first. Times are wall-clock seconds."""

    serial: str
    chain: str
    not_before: float
    not_after: float


class Authority:
    """Issues certificates and revocation lists. The one place that touches the issuing key."""

    def __init__(
        self,
        root: x509.Certificate,
        issuing: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Clock,
    ) -> None:
        self._root = root
        self._issuing = issuing
        self._key = key
        self._clock = clock

    @property
    def root_pem(self) -> str:
        """What devices and people pin."""
        return _pem(self._root)

    @property
    def fingerprint(self) -> str:
        """The root's, as enrolment tokens carry it."""
        return fingerprint(self._root.public_bytes(Encoding.DER))

    def device(self, csr_pem: str, name: str, lifetime_s: float) -> Issued:
        """A client certificate for the key of a request; nothing else of the request is taken over.

        :raises Refused: no request, not signed by its key, or a key too weak
        """
        return self._issue(_key_of(csr_pem), name, lifetime_s, (), (ExtendedKeyUsageOID.CLIENT_AUTH,))

    def own(self, name: str, hosts: Iterable[str], lifetime_s: float = SERVER_DAYS * DAY_S) -> bytes:
        """A key and certificate chain for the control plane itself, PEM: a server for `hosts`, or a client without any."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = tuple(hosts)
        use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        issued = self._issue(key.public_key(), name, lifetime_s, hosts, (use,))
        return _key_pem(key) + issued.chain.encode()

    def revocation_list(self, serials: Iterable[str], above_wall: float = 0.0) -> tuple[bytes, float]:
        """The list as PEM, and the time in it, which grows: OpenSSL takes the newest of those it has read."""
        at = max(self._clock.wall() - BACKDATE_S, above_wall + 1.0)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._issuing.subject)
            .last_update(_time(at))
            .next_update(_time(self._clock.wall() + REVOCATION_DAYS * DAY_S))
            .add_extension(x509.CRLNumber(int(at)), critical=False)
        )
        for serial in serials:
            revoked = (
                x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(_time(at))
            )
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM), at

    def _issue(
        self,
        public_key: object,
        name: str,
        lifetime_s: float,
        hosts: Iterable[str],
        uses: Iterable[x509.ObjectIdentifier],
    ) -> Issued:
        begin = self._clock.wall() - min(BACKDATE_S, lifetime_s / 10)
        end = min(self._clock.wall() + lifetime_s, self._issuing.not_valid_after_utc.timestamp())
        builder = _builder(name, self._issuing.subject, public_key, begin, end)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        names = [_general_name(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        chain = _pem(certificate) + _pem(self._issuing)
        return Issued(f"{certificate.serial_number:x}", chain, begin, end)


def create(folder: Path, root_key: Path, fleet: str, clock: Clock) -> None:
    """Make root and issuing authority where there are none; what exists is never replaced, because devices have pinned it."""
    if (folder / "root.pem").exists():
        return
    for made in (folder, root_key.parent):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Outrider {fleet} root")])
    at = clock.wall() - BACKDATE_S
    builder = _builder(subject, subject, key.public_key(), at, at + ROOT_DAYS * DAY_S)
    root = _as_authority(builder, 1, key.public_key()).sign(key, hashes.SHA256())
    write_atomic(root_key, _key_pem(key), 0o600)
    issuing_key = ec.generate_private_key(ec.SECP256R1())
    write_atomic(folder / "issuing-key.pem", _key_pem(issuing_key), 0o600)
    _certify_issuing(folder, root, key, issuing_key, fleet, clock)
    write_atomic(folder / "root.pem", _pem(root).encode())


def renew(folder: Path, root_key: Path, fleet: str, clock: Clock) -> None:
    """Give the issuing authority a new certificate over the key it has, so that what it issued stays good.

    :raises Misconfigured: the key cannot be read, or is not the root's
    """
    root, key = _read_certificate(folder / "root.pem"), _read_key(root_key)
    if key.public_key() != root.public_key():
        raise Misconfigured(Reason.CONFIG_INVALID, f"{root_key} is not the key of {folder / 'root.pem'}")
    _certify_issuing(folder, root, key, _read_key(folder / "issuing-key.pem"), fleet, clock)


def load(folder: Path, clock: Clock) -> Authority:
    """:raises Misconfigured: a part is missing or unreadable"""
    root, issuing = (_read_certificate(folder / name) for name in ("root.pem", "issuing.pem"))
    key = _read_key(folder / "issuing-key.pem")
    if key.public_key() != issuing.public_key():
        raise Misconfigured(Reason.CONFIG_INVALID, f"{folder}/issuing-key.pem does not fit issuing.pem")
    return Authority(root, issuing, key, clock)


def serial_of(certificate_der: bytes) -> tuple[str, str]:
    """The serial number and common name of a certificate whose chain has been verified."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"{certificate.serial_number:x}", str(names[0].value) if names else ""


def due(chain_pem: bytes, at_wall: float) -> bool:
    """Whether two thirds of the certificate's life are over."""
    certificate = x509.load_pem_x509_certificates(chain_pem)[0]
    begin, end = (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )
    return at_wall >= begin + RENEW_AT * (end - begin)


def hosts_of(chain_pem: bytes) -> set[str]:
    """The hosts a server certificate is for."""
    certificate = x509.load_pem_x509_certificates(chain_pem)[0]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def is_host(text: str) -> bool:
    """Whether a certificate can be made for it."""
    return _HOST.fullmatch(text) is not None or _is_address(text)


def _certify_issuing(
    folder: Path,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    fleet: str,
    clock: Clock,
) -> None:
    at = clock.wall() - BACKDATE_S
    end = at + ISSUING_DAYS * DAY_S
    builder = _builder(f"Outrider {fleet} issuing", root.subject, key.public_key(), at, end)
    issuing = _as_authority(builder, 0, root_key.public_key()).sign(root_key, hashes.SHA256())
    write_atomic(folder / "issuing.pem", _pem(issuing).encode())


def _builder(
    subject: x509.Name | str, issuer: x509.Name, public_key: object, begin: float, end: float
) -> x509.CertificateBuilder:
    if isinstance(subject, str):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(public_key).serial_number(x509.random_serial_number())  # type: ignore[arg-type]
    builder = builder.not_valid_before(_time(begin)).not_valid_after(_time(end))
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)  # type: ignore[arg-type]
    return builder.add_extension(identifier, critical=False)


def _as_authority(
    builder: x509.CertificateBuilder, path_length: int, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
    return builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)


def _key_of(csr_pem: str) -> object:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        sound = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as e:
        raise Refused(Reason.CERTIFICATE_INVALID, f"no certificate signing request in PEM: {e}") from e
    if not sound:
        raise Refused(Reason.CERTIFICATE_INVALID, "the request is not signed by its own key")
    strong = (
        (isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256)
        or isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048)
    )
    if not strong:
        raise Refused(
            Reason.CERTIFICATE_INVALID, "the key is too weak; expected ECDSA P-256, Ed25519 or RSA 2048"
        )
    return key


def _general_name(host: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(host)) if _is_address(host) else x509.DNSName(host)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _time(wall: float) -> datetime:
    return datetime.fromtimestamp(int(wall), timezone.utc)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as e:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"{path} cannot be read ({e}); restore it, or run `outrider fleet init` again",
        ) from e


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as e:
        raise Misconfigured(Reason.CONFIG_INVALID, f"{path} cannot be read: {e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(Reason.CONFIG_INVALID, f"{path} is no ECDSA key")
    return key
