"""What models cost on the fleet's machines: kept from the answers to `bench`, read as one table of hardware and model."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.db import Database
from fleet.tables import BenchRow, Version
from wire.bench import BenchFigures
from wire.command import Response
from wire.doc import read

MOST_ROWS = 10_000


@dataclass(frozen=True)
class Measured:
    """The newest measurement of a model in an engine on a device. `names`: what the registry calls the model."""

    row: BenchRow
    names: tuple[str, ...]


def keep(session: Session, device: str, at_wall: float, response: Response) -> None:
    """Add the figures of an answer.

    :raises wire.errors.Refused: they are not figures of a benchmark
    """
    figures = read(BenchFigures, response.result)
    engine = figures.engine
    words = (engine.engine, engine.version, engine.provider or engine.device, engine.precision)
    session.add(
        BenchRow(
            device=device,
            at=at_wall,
            model=figures.model,
            digest=figures.digest,
            engine=" ".join(filter(None, words))[:256],
            hardware=figures.hardware.name,
            figures=figures.model_dump(mode="json", by_alias=True),
        )
    )


class Benchmarks:
    """Reads what was kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, device: str | None = None, model: str | None = None) -> list[Measured]:
        """The newest of each device, model and engine; `model` is a name of the registry (`name`, `name@version`), of a package, or a digest."""
        query = select(BenchRow).order_by(BenchRow.row.desc()).limit(MOST_ROWS)
        if device is not None:
            query = query.where(BenchRow.device == device)
        with self._database.read() as session:
            names = self._names(session)
            found: dict[tuple[str, str, str], Measured] = {}
            for row in session.scalars(query):
                called = tuple(names.get(row.digest, ()))
                if model is None or model in _calls(row, called):
                    found.setdefault((row.device, row.digest, row.engine), Measured(row, called))
        return sorted(
            found.values(),
            key=lambda m: (m.row.model, m.row.digest, m.row.hardware, m.row.device, m.row.engine),
        )

    @staticmethod
    def _names(session: Session) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for version in session.scalars(select(Version).where(Version.kind == "model")):
            names.setdefault(version.digest, []).append(f"{version.name}@{version.version}")
        return names


def _calls(row: BenchRow, names: tuple[str, ...]) -> set[str]:
    return {row.model, row.digest, *names, *(name.partition("@")[0] for name in names)}
