"""Every table of the control plane in one place: migrations and backups take all of them from here."""

from __future__ import annotations

from fleet import picture_rows as _pictures  # noqa: F401
from fleet.access import tables as _people  # noqa: F401
from fleet.alerts import tables as _alerts  # noqa: F401
from fleet.health import tables as _health  # noqa: F401
from fleet.outward import tables as _outward  # noqa: F401
from fleet.rollout import tables as _rollouts  # noqa: F401
from fleet.tables import Base

__all__ = ["Base"]
