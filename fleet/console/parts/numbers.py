"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count_bytes: float | None) -> str:
    """Bytes in the unit that fits."""
    if count_bytes is None:
        return "unknown"
    left = float(count_bytes)
    for unit in UNITS[:-1]:
        if left < 1024:
            return f"{left:.0f} {unit}" if left >= 10 or unit == "B" else f"{left:.1f} {unit}"
        left /= 1024
    return f"{left:.1f} {UNITS[-1]}"


def span(seconds: float) -> str:
    """A length of time in its two largest units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "unknown"


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A figure with its unit; a word where there is none."""
    if value is None:
        return "none"
    return f"{value:,.{digits}f} {unit}".strip()


def by_cause(seconds: Mapping[str, float]) -> str:
    """Seconds by cause, the longest first."""
    found = sorted(((s, cause) for cause, s in seconds.items() if s > 0), reverse=True)
    return ", ".join(f"{span(s)} {cause}" for s, cause in found)
