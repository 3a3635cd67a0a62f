"""What a device is made of. Told at birth and when it changes; what a machine does not tell is empty."""

from __future__ import annotations

from wire.doc import Doc


class Gpu(Doc):
    name: str
    driver: str = ""
    memory_bytes: int | None = None


class Disk(Doc):
    """A file system on a device of its own."""

    mount: str
    kind: str
    total_bytes: int


class VideoDevice(Doc):
    """A camera that the kernel knows, such as a USB one; those on the network are in the desired state."""

    path: str
    name: str


class Inventory(Doc):
    """`board` is the maker's name of the machine; `l4t` and `jetpack` are NVIDIA's releases on a Jetson."""

    hostname: str = ""
    board: str = ""
    serial: str = ""
    architecture: str = ""
    processor: str = ""
    processors: int = 0
    memory_bytes: int = 0
    system: str = ""
    kernel: str = ""
    python: str = ""
    l4t: str = ""
    jetpack: str = ""
    gpus: tuple[Gpu, ...] = ()
    disks: tuple[Disk, ...] = ()
    cameras: tuple[VideoDevice, ...] = ()
