"""What devices show of faults, written where it has changed: most messages show what the one before has shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.health.signs import Sign, key_of
from fleet.health.tables import Signs


def write_signs(
    session: Session, shown: Mapping[tuple[str, str], tuple[Sign, ...]], known: Collection[str], at: float
) -> None:
    """Of each device and source; rows whose key is the same stay as they are."""
    rows = [
        {
            "device": device,
            "source": source,
            "key": key_of(signs),
            "changed_at": at,
            "signs": [sign.row() for sign in signs],
        }
        for (device, source), signs in sorted(
            shown.items()
        )  # in one order, or two replicas wait for each other
        if device in known
    ]
    if not rows:
        return
    make: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = make(Signs)
    new = statement.excluded
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["device", "source"],
            set_={"key": new.key, "changed_at": new.changed_at, "signs": new.signs},
            where=Signs.key != new.key,
        ),
        rows,
    )
