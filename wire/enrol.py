"""Enrolment: a one-time token against an identity."""

from __future__ import annotations

from pydantic import Field

from wire.doc import Doc
from wire.names import Name


class EnrolRequest(Doc):
    token: str = Field(min_length=8, max_length=200)
    device: Name | None = None
    public_key: str = ""
    """The device's Ed25519 public key, raw, base64."""
    labels: dict[str, str] = Field(default_factory=dict)


class Broker(Doc):
    """Where and how the device reaches the broker."""

    host: str
    port: int = Field(ge=1, le=65535)
    username: str
    password: str
    tls: bool = False


class EnrolResponse(Doc):
    fleet: Name
    device: Name
    api_token: str
    """The device's bearer token for the control plane's device API (objects, desired state)."""
    broker: Broker
    state_keys: dict[str, str]
    """Key id → raw Ed25519 public key, base64: who may sign desired state and commands."""
