"""What a release of the agent is made for: beside its wheels in `release.json`, and in the manifest that a device is given."""

from __future__ import annotations

from pydantic import Field

from wire.doc import Doc

FILE = "release.json"


class ReleaseCard(Doc):
    """`version` of the agent; `python` it was made for, like `3.11`; `platform`, like `linux-x86_64`; `glibc`, the least that its wheels
    need, empty where they need none. `extras` of the agent that it holds. `wire`: what the control plane must speak at least. `base`: distributions that are not in the
    release and are taken, in this very version, from the environment that was installed with the system.
    """

    version: str = Field(min_length=1, max_length=64)
    python: str = Field(pattern=r"^3\.\d{1,2}$")
    platform: str = Field(pattern=r"^linux-(x86_64|aarch64)$")
    glibc: str = Field(default="", pattern=r"^(\d+\.\d+)?$")
    wire: int = Field(default=1, ge=1, le=1000)
    extras: tuple[str, ...] = Field(default=(), max_length=32)
    base: dict[str, str] = Field(default_factory=dict, max_length=512)
