"""A bundle: signed desired states with the trust metadata and the objects they need, carried to devices without a network.

A directory, or a tar of it: `bundle.json` and `objects/<hex>`. Nothing of it is believed for being there: signatures and hashes are
those that hold over the network too.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wire import strict_json
from wire.doc import Doc, read
from wire.errors import Malformed
from wire.names import Digest, Name

FILE = "bundle.json"
OBJECTS = "objects"
MAX_BYTES = 64 * 1024 * 1024
"""Of `bundle.json`."""


class Bundle(Doc):
    """`devices`: name → its signed desired state. `metadata`: name of a file → its text. `objects`: digest → bytes."""

    kind: Literal["outrider-bundle"] = "outrider-bundle"
    fleet: Name
    made_at: float
    devices: dict[Name, dict[str, Any]] = Field(max_length=10_000)
    metadata: dict[str, str]
    objects: dict[Digest, int]


def decode(content: bytes) -> Bundle:
    """Read `bundle.json`.

    :raises Malformed: not JSON, or too long
    :raises Refused: a field is wrong
    """
    if len(content) > MAX_BYTES:
        raise Malformed(f"bundle of {len(content)} bytes; at most {MAX_BYTES}")
    return read(Bundle, strict_json.parse(content, "bundle"))
