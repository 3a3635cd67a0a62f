"""Commands to a device and their responses. A command travels signed, is bound to one device and expires."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from wire import dsse
from wire.doc import Doc, read
from wire.errors import NotTrusted
from wire.names import Name
from wire.reasons import Reason

PAYLOAD_TYPE = "application/vnd.outrider.command+json"


class Command(Doc):
    """A request. `name` is e.g. `restart-camera`, `snapshot`; `rid` names the response's topic."""

    device: Name
    name: Name
    rid: Name
    issued_at: float
    expires_at: float
    arguments: dict[str, Any] = Field(default_factory=dict)


class Response(Doc):
    """The answer to a command. `reason` is set where `ok` is false."""

    rid: str
    name: str
    ok: bool
    reason: str | None = None
    message: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)


def sign(command: Command, key: Ed25519PrivateKey) -> dict[str, Any]:
    return dsse.sign(command.to_json(), PAYLOAD_TYPE, key)


def open_signed(envelope: object, keys: dsse.PublicKeys, *, device: str, at_wall: float) -> Command:
    """Verify and read a signed command.

    :raises Malformed: no signed document
    :raises NotTrusted: signature, device or expiry do not hold
    :raises Refused: a field is wrong
    """
    document = dsse.verify(envelope, PAYLOAD_TYPE, keys)
    if document.get("device") != device:
        raise NotTrusted(
            f"command for device {document.get('device')!r}; this is {device!r}", Reason.WRONG_DEVICE
        )
    command = read(Command, document)
    if at_wall > command.expires_at:
        raise NotTrusted(
            f"command {command.name} expired {at_wall - command.expires_at:.0f} s ago", Reason.EXPIRED
        )
    return command
