"""Pending."""

from __future__ import annotations

BLOCKS = ()
