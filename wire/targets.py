"""What artifacts are called under TUF, and which role vouches for which. Pure names, shared by both sides.

An artifact is one target, `models/<hex>` or `workflows/<hex>`: the SHA-256 of a model's manifest (which names the hash and size of
each of its files) or of a workflow's bytes. Each kind is delegated to sixteen roles by the first digit of that hash, so that an upload
makes one small file anew and a device reads few. The role `state` has no metadata: its keys are those that may sign desired states
and commands.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["model", "workflow", "release"]
KINDS: tuple[Kind, ...] = ("model", "workflow", "release")
DIGITS = "0123456789abcdef"
STATE_ROLE = "state"
MAX_ROOT_BYTES = 512_000
MAX_TIMESTAMP_BYTES = 16_384
MAX_SNAPSHOT_BYTES = 256_000
MAX_TARGETS_BYTES = 5_000_000
"""Of one file: about 10,000 artifacts of a kind and digit, 160,000 of a kind."""
MAX_ROOT_ROTATIONS = 256
"""In one refresh; a device that has missed more goes on in the next."""


def group(kind: Kind) -> str:
    """The name under which the keys of all sixteen roles of a kind go: `models`, `workflows`."""
    return f"{kind}s"


def target_path(kind: Kind, digest: str) -> str:
    """The target of an artifact, by its `sha256:…`."""
    return f"{group(kind)}/{digest.removeprefix('sha256:')}"


def pattern(role: str) -> str:
    """The targets that a role like `models-3` vouches for."""
    name, _, digit = role.partition("-")
    return f"{name}/{digit}*"


def role_of(path: str) -> str:
    """The role that vouches for a target."""
    name, _, digits = path.partition("/")
    return f"{name}-{digits[:1]}"


def roles(kind: Kind) -> tuple[str, ...]:
    """The sixteen roles of a kind."""
    return tuple(f"{group(kind)}-{digit}" for digit in DIGITS)


ARTIFACT_ROLES = tuple(role for kind in KINDS for role in roles(kind))
GROUPS = tuple(group(kind) for kind in KINDS)
