"""What an installation is made of: steps that say what they do, and do nothing themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class WriteFile:
    """A file with this content and mode. `path` and all others are below the root."""

    path: PurePosixPath
    content: bytes
    mode: int = 0o644

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True)
class PointLink:
    """A symbolic link that points to `target`, replaced in one step."""

    path: PurePosixPath
    target: str

    def __str__(self) -> str:
        return f"point {self.path} to {self.target}"


@dataclass(frozen=True)
class CopyEnvironment:
    """The Python environment at `source`, of this machine, made anew at `path` for the interpreter of the root."""

    path: PurePosixPath
    source: str

    def __str__(self) -> str:
        return f"copy the environment {self.source} to {self.path}"


@dataclass(frozen=True)
class Remove:
    """A file, link or whole directory."""

    path: PurePosixPath

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True)
class Run:
    """A program of this machine. `{root}` in an argument is the root's path. A failure ends the installation, unless `may_fail`."""

    command: tuple[str, ...]
    why: str
    may_fail: bool = False

    def __str__(self) -> str:
        return f"{self.why}: {' '.join(self.command)}"


Step = WriteFile | PointLink | CopyEnvironment | Remove | Run
