"""The audit log: every change, by whom. Rows are only added, in the transaction of the change itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from fleet.tables import AuditRow


def record(session: Session, at_wall: float, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Add a row. `detail` never holds a secret."""
    session.add(AuditRow(at=at_wall, actor=actor, action=action, subject=subject, detail=detail))
