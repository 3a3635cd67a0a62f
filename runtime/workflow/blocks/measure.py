"""Distances between detections."""

from __future__ import annotations

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOXES,
    FLOAT,
    INTEGER,
    STRING,
    Choice,
    Either,
    Nothing,
    Number,
    boxes,
    gives,
    option,
)
from runtime.workflow.values import ANCHORS, Detections, anchor_points, empty_like, objects

POINT = Choice(tuple(ANCHORS))


class NearestNeighbor(Block):
    """The target closest to each query, and its distance in pixels: None where there is none within `max_distance`. The
    matched queries and their targets come in the same order; a target may stand there more than once."""

    types = ("roboflow_core/detections_nearest_neighbor@v1",)
    title = "Nearest neighbour"
    fields = (
        boxes("query_predictions"),
        boxes("target_predictions"),
        option("query_point", POINT, "CENTER", STRING),
        option("target_point", POINT, "CENTER", STRING),
        option("max_distance", Either((Nothing(), Number(0))), None, INTEGER, FLOAT),
    )
    outputs = gives(query_predictions=BOXES, matched_query_detections=BOXES, matched_target_detections=BOXES)

    def run(
        self,
        query_predictions: Detections,
        target_predictions: Detections,
        query_point: str,
        target_point: str,
        max_distance: float | None,
    ) -> tuple[Detections, Detections, Detections]:
        queries, targets = query_predictions, target_predictions
        if not len(queries) or not len(targets):
            told = queries.with_data(nearest_target_distance=objects([None] * len(queries)))
            return told, empty_like(told), empty_like(targets)
        apart = anchor_points(queries, query_point)[:, None] - anchor_points(targets, target_point)[None]
        distances = np.hypot(apart[..., 0], apart[..., 1])
        nearest = distances.argmin(axis=1)
        least = distances[np.arange(len(queries)), nearest]
        near = np.ones(len(queries), bool) if max_distance is None else least <= max_distance
        column = [float(d) if n else None for d, n in zip(least, near, strict=True)]
        told = queries.with_data(nearest_target_distance=objects(column))
        return told, told.select(near), targets.select(nearest[near])


BLOCKS = (NearestNeighbor,)
