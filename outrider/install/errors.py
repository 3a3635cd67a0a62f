"""The installer's error."""

from __future__ import annotations


class InstallRefused(Exception):
    """The installation cannot go on; the message says why and what to do. What was done so far may be repeated."""
