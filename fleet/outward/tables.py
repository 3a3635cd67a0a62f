"""How far each of those who are told has been told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.tables import Base


class CursorRow(Base):
    """`row` is the number of the last event that was told, or given up. `name` is `webhook:NAME`."""

    __tablename__ = "outward_cursors"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    row: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[float] = mapped_column(Float)
