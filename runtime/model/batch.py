"""Whose tensor runs next: a fair queue over models and pipelines. Pure: no clock, no tensor, no socket.

Models take turns, and within a model the pipelines that wait take turns, one tensor each, so that a pipeline asking about
a hundred crops delays another one's frame by one batch, never by a hundred. It is bounded by its callers: a pipeline cannot
have more tensors waiting than it has slots.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Model = TypeVar("Model", bound=Hashable)
Pipeline = TypeVar("Pipeline", bound=Hashable)
Item = TypeVar("Item")


class FairQueue(Generic[Model, Pipeline, Item]):
    """First in, first out for each pipeline; round robin between pipelines and between models."""

    def __init__(self) -> None:
        self._models: OrderedDict[Model, OrderedDict[Pipeline, deque[Item]]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, model: Model, pipeline: Pipeline, item: Item) -> None:
        """Line up. A newcomer stands behind those who already wait."""
        pipelines = self._models.setdefault(model, OrderedDict())
        pipelines.setdefault(pipeline, deque()).append(item)
        self._waiting += 1

    def next_model(self) -> Model | None:
        """The model whose turn it is, or None where nothing waits."""
        return next(iter(self._models), None)

    def peek(self) -> Item | None:
        """The item whose turn is next."""
        pipelines = next(iter(self._models.values()), None)
        return None if pipelines is None else next(iter(pipelines.values()))[0]

    def take(self, limit: int) -> list[tuple[Pipeline, Item]]:
        """1 to `limit` items of `next_model`, whose turn is then over; empty where nothing waits."""
        if not self._models:
            return []
        model, pipelines = self._models.popitem(last=False)
        taken: list[tuple[Pipeline, Item]] = []
        while pipelines and len(taken) < limit:
            pipeline, items = pipelines.popitem(last=False)
            taken.append((pipeline, items.popleft()))
            if items:
                pipelines[pipeline] = items
        if pipelines:
            self._models[model] = pipelines
        self._waiting -= len(taken)
        return taken

    def drop(self, model: Model, pipeline: Pipeline) -> list[Item]:
        """Forget what a pipeline that has gone was waiting for."""
        pipelines = self._models.get(model)
        if pipelines is None:
            return []
        dropped = list(pipelines.pop(pipeline, ()))
        if not pipelines:
            del self._models[model]
        self._waiting -= len(dropped)
        return dropped
