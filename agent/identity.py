"""Who this device is: what enrolment gave it, in a file only the owner can read. Its own keys are in `agent.keys`."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigRefused
from agent.files import DISK, Disk, write_atomic
from wire.doc import Doc, read
from wire.enrol import Broker, EnrolResponse
from wire.errors import Refused
from wire.names import Name
from wire.reasons import Reason

FILE = "identity.json"


class IdentityFile(Doc):
    """The file of the state directory. `url` is the control plane's; `state_keys` are base64, by key id; `authority` is PEM, and
    pinned; `public_authorities` lets the system's vouch for the control plane too; `root` is that of the update framework, pinned."""

    url: str
    fleet: Name
    device: Name
    api_token: str
    broker: Broker
    state_keys: dict[str, str]
    authority: str = ""
    public_authorities: bool = False
    root: str = ""


@dataclass(frozen=True, repr=False)
class Identity:
    """The device's identity; its secrets are masked in `repr`. `state_keys` maps a key id to 32 raw bytes."""

    url: str
    fleet: str
    device: str
    api_token: str
    broker: Broker
    state_keys: dict[str, bytes]
    authority: str = ""
    public_authorities: bool = False
    root: str = ""

    def __repr__(self) -> str:
        return f"Identity({self.device!r} of {self.fleet!r} at {self.url!r}, secrets ***)"


def from_response(url: str, response: EnrolResponse, *, public_authorities: bool = False) -> Identity:
    """The identity that enrolment gives.

    :raises ConfigRefused: a state key is not 32 bytes in base64
    """
    keys = {name: _raw_key(name, text) for name, text in response.state_keys.items()}
    return Identity(
        url.rstrip("/"),
        response.fleet,
        response.device,
        response.api_token,
        response.broker,
        keys,
        response.authority,
        public_authorities,
        response.root,
    )


def save(identity: Identity, state_dir: Path, disk: Disk = DISK) -> None:
    """Write the identity, mode 0600, durably.

    :raises OSError: no room, no permission
    """
    body: dict[str, Any] = {
        "url": identity.url,
        "fleet": identity.fleet,
        "device": identity.device,
        "api_token": identity.api_token,
        "broker": identity.broker.to_json(),
        "state_keys": {name: base64.b64encode(raw).decode() for name, raw in identity.state_keys.items()},
        "authority": identity.authority,
        "public_authorities": identity.public_authorities,
        "root": identity.root,
    }
    write_atomic(state_dir / FILE, json.dumps(body, indent=1).encode(), 0o600, disk=disk)


def load(state_dir: Path) -> Identity | None:
    """The identity, or None where the device is not enrolled.

    :raises ConfigRefused: the file is there and cannot be used
    """
    path = state_dir / FILE
    try:
        document = read(IdentityFile, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, Refused) as e:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f"{path} cannot be used ({e}); enrol the device again"
        ) from e
    keys = {name: _raw_key(name, text) for name, text in document.state_keys.items()}
    return Identity(
        document.url,
        document.fleet,
        document.device,
        document.api_token,
        document.broker,
        keys,
        document.authority,
        document.public_authorities,
        document.root,
    )


def _raw_key(name: str, text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as e:
        raise ConfigRefused(Reason.CONFIG_INVALID, f"state key {name[:12]} is not base64") from e
    if len(raw) != 32:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f"state key {name[:12]} has {len(raw)} bytes; an Ed25519 key has 32"
        )
    return raw
