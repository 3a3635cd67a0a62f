"""Models and workflows of the registry as pages list them: by name, with their newest version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Version = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """One name; `versions` newest first."""

    name: str
    versions: Sequence[Version]

    @property
    def newest(self) -> Version:
        return self.versions[0]

    @property
    def aliases(self) -> list[str]:
        """`production → 3`, of all its versions."""
        return [f"{alias} → {row['version']}" for row in self.versions for alias in row["aliases"]]


def by_name(rows: Sequence[Version]) -> list[Named]:
    """Every version of every name, in the order of names."""
    found: dict[str, list[Version]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row)
    return [
        Named(name, sorted(rows, key=lambda row: -int(row["version"])))
        for name, rows in sorted(found.items())
    ]


def size(size_bytes: int) -> str:
    """In the unit that fits."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:,.1f} kB"
