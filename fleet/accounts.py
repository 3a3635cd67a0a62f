"""Who may log in to the broker and which topics each may use: the rules, and the files mosquitto reads.

A device reads its own desired state and commands and writes its own reports. A reader, such as an integrator's program,
reads everything of the fleet and writes nothing. The control plane and readers have names no device can have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from enum import Enum

from wire.names import FleetId
from wire.topics import ROOT

CONTROL_USER = "_control"
"""Names of devices begin with a letter or digit (wire.names), so this one can never be enrolled."""

READER_PREFIX = "_reader."

ITERATIONS = 101
"""What mosquitto_passwd takes. The passwords are 256 random bits, which no number of iterations makes stronger, and the
broker computes this for every client at each reload."""
SALT_BYTES = 12
DEVICE_READS = ("desired", "cmd/+")
DEVICE_WRITES = ("conn", "reported", "health", "event/+", "rsp/+", "data/#")


class Action(Enum):
    READ = "read"
    WRITE = "write"


def password_hash(password: str, salt: bytes) -> str:
    """`$7$iterations$salt$hash`, PBKDF2 with SHA-512: the form of mosquitto_passwd 2.0."""
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def password_fits(password: str, hashed: str) -> bool:
    """Compare in constant time; an unreadable hash fits nothing."""
    try:
        _, kind, iterations, salt, wanted = hashed.split("$")
        derived = hashlib.pbkdf2_hmac(
            "sha512", password.encode(), base64.b64decode(salt, validate=True), int(iterations)
        )
        return kind == "7" and hmac.compare_digest(derived, base64.b64decode(wanted, validate=True))
    except (ValueError, binascii.Error):
        return False


def password_file(accounts: Mapping[str, str]) -> bytes:
    """User → hash, one a line."""
    return "".join(f"{user}:{hashed}\n" for user, hashed in accounts.items()).encode()


def read_password_file(content: bytes) -> dict[str, str]:
    """The reverse of `password_file`."""
    pairs = (line.partition(":") for line in content.decode().splitlines() if line)
    return {user: hashed for user, _, hashed in pairs}


def acl_file(fleet: FleetId, readers: Iterable[str] = (), revoked: Iterable[str] = ()) -> bytes:
    """The rules in mosquitto's form; `%u` is the user name, which is the device's id. `readers` are user names. `revoked` devices
    may do nothing, also within a session that they have already: a revocation list is looked at only when a session begins."""
    base = f"{ROOT}/{fleet}"
    lines = [f"user {CONTROL_USER}", f"topic readwrite {base}/#", ""]
    for reader in readers:
        lines += [f"user {reader}", f"topic read {base}/#", ""]
    for device in revoked:
        lines += [f"user {device}", f"topic deny {base}/#", ""]
    lines += [f"pattern read {base}/%u/{tail}" for tail in DEVICE_READS]
    lines += [f"pattern write {base}/%u/{tail}" for tail in DEVICE_WRITES]
    return ("\n".join(lines) + "\n").encode()


def allowed(fleet: FleetId, user: str, topic: str, action: Action) -> bool:
    """The same rules as a function. A subscription is allowed where every topic it can match is."""
    base = f"{ROOT}/{fleet}"
    if user == CONTROL_USER:
        return topic.startswith(f"{base}/")
    if user.startswith(READER_PREFIX):
        return action is Action.READ and topic.startswith(f"{base}/")
    tails = DEVICE_READS if action is Action.READ else DEVICE_WRITES
    return any(re.fullmatch(_pattern(f"{base}/{user}/{tail}"), topic) for tail in tails)


def _pattern(topic: str) -> str:
    return re.escape(topic).replace(r"\+", "(?:[^/+#]+|[+])").replace(r"\#", "[^+#]+")
