"""Enrolment: a one-time token against an identity, and the renewal of its certificate.

A token is a secret, and behind a dot the fingerprint of the authority whose certificates the control plane shows: the device
gives the secret to nobody who cannot show that authority. The secret alone is a token too, where there is no authority.
"""

from __future__ import annotations

import base64
import hashlib

from pydantic import Field

from wire.doc import Doc
from wire.names import Name


class EnrolRequest(Doc):
    token: str = Field(min_length=8, max_length=200)
    device: Name | None = None
    public_key: str = ""
    """The device's Ed25519 public key, raw, base64."""
    sealing_key: str = ""
    """The device's X25519 public key, raw, base64: secrets are sealed to it."""
    csr: str = Field(default="", max_length=16384)
    """A certificate signing request, PEM. Only its key counts; name and use are the control plane's to say."""
    labels: dict[str, str] = Field(default_factory=dict)


class Broker(Doc):
    """Where and how the device reaches the broker. `password` is empty where the certificate says who the device is."""

    host: str
    port: int = Field(ge=1, le=65535)
    username: str
    password: str
    tls: bool = False
    websocket: str = ""
    """Where the broker speaks MQTT over WebSocket, a URL; empty where it does not."""


class EnrolResponse(Doc):
    fleet: Name
    device: Name
    api_token: str
    """The device's bearer token for the control plane's device API (objects, desired state); empty for a device with a
    certificate, which signs short-lived tokens itself (`wire.proof`)."""
    broker: Broker
    state_keys: dict[str, str]
    """Key id → raw Ed25519 public key, base64: who may sign desired state and commands."""
    certificate: str = ""
    """The device's certificate and those up to the authority, PEM."""
    authority: str = ""
    """The authority to pin, PEM."""
    root: str = ""
    """The root of the update framework to pin, its JSON; empty where the control plane has none."""


class CertificateRequest(Doc):
    """The renewal of a certificate."""

    csr: str = Field(min_length=1, max_length=16384)


class CertificateResponse(Doc):
    certificate: str
    """The new certificate and those up to the authority, PEM."""


def fingerprint(certificate_der: bytes) -> str:
    """How a token names an authority: the SHA-256 of its certificate, base64url, 43 characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate_der).digest()).decode().rstrip("=")


def token_of(secret: str, authority_fingerprint: str) -> str:
    """The token as people carry it."""
    return f"{secret}.{authority_fingerprint}" if authority_fingerprint else secret


def parts_of(token: str) -> tuple[str, str]:
    """The secret and the authority's fingerprint; the latter empty where the token holds none."""
    secret, _, wanted = token.partition(".")
    return secret, wanted
