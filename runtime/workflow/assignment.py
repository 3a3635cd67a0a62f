"""Pairs of least total cost: the linear assignment problem (Kuhn 1955, with potentials), for the sizes a tracker has."""

from __future__ import annotations

import numpy as np

from runtime.workflow.values import Array

BEYOND = 1e-4
"""A pair above the limit costs this much more than the limit, all such pairs the same."""


def assign(cost: Array, limit: float) -> tuple[Array, Array]:
    """Rows and columns of the pairs of least total cost, none above the limit. cost: (N, M) float."""
    fits = cost <= limit
    alone = fits & (fits.sum(axis=1) == 1)[:, None] & (fits.sum(axis=0) == 1)[None, :]
    rows, columns = np.nonzero(alone)
    rest = fits & ~alone
    if not rest.any():
        return rows, columns
    some_rows, some_columns = np.flatnonzero(rest.any(axis=1)), np.flatnonzero(rest.any(axis=0))
    part = np.where(fits, cost, limit + BEYOND)[np.ix_(some_rows, some_columns)]
    if part.shape[0] <= part.shape[1]:
        first, second = _solve(part)
    else:
        second, first = _solve(part.T)
    good = fits[some_rows[first], some_columns[second]]
    return (
        np.concatenate([rows, some_rows[first[good]]]),
        np.concatenate([columns, some_columns[second[good]]]),
    )


def _solve(cost: Array) -> tuple[Array, Array]:
    """A column for every row, N ≤ M; row by row along shortest paths that keep all earlier rows assigned."""
    rows, columns = cost.shape
    of_row, of_column = np.zeros(rows + 1), np.zeros(columns + 1)
    owner, came_from = np.zeros(columns + 1, np.intp), np.zeros(columns + 1, np.intp)
    for row in range(1, rows + 1):
        owner[0], at = row, 0
        distance, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        while owner[at]:
            used[at] = True
            reduced = cost[owner[at] - 1] - of_row[owner[at]] - of_column[1:]
            better = np.flatnonzero(~used[1:] & (reduced < distance[1:])) + 1
            distance[better], came_from[better] = reduced[better - 1], at
            nearest = int(np.argmin(np.where(used, np.inf, distance)))
            step = distance[nearest]
            of_row[owner[used]] += step
            of_column[used] -= step
            distance[~used] -= step
            at = nearest
        while at:
            owner[at], at = owner[came_from[at]], int(came_from[at])
    taken = np.flatnonzero(owner[1:])
    return owner[1:][taken] - 1, taken
