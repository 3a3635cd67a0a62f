"""The table of pictures. Times are wall-clock seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.tables import DIGEST, NAME, Base


class PictureRow(Base):
    """A picture that a device has sent; its bytes are in the object store. `kind`: `event` (it came with one, whose id it has) or `sample`
    (for re-training). `about` is a `wire.picture.About`. `taken_wall` is the device's."""

    __tablename__ = "pictures"
    __table_args__ = (Index("ix_pictures_device_received_at", "device", "received_at"),)

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    camera: Mapped[str] = mapped_column(NAME)
    kind: Mapped[str] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(64))
    taken_wall: Mapped[float] = mapped_column(Float)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(DIGEST, index=True)
    received_at: Mapped[float] = mapped_column(Float, index=True)
    about: Mapped[dict[str, Any]]
