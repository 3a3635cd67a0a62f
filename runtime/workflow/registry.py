"""The blocks by identifier: our own, and those of plugins (entry-point group `outrider.blocks`)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from runtime.workflow.block import Block

GROUP = "outrider.blocks"
MODULES = (
    "aggregation",
    "analytics",
    "annotators",
    "answers",
    "buckets",
    "bundles",
    "classifiers",
    "codes",
    "comparison",
    "consensus",
    "core",
    "crops",
    "event_log",
    "filters",
    "flow",
    "focus",
    "formatters",
    "fusion",
    "labels",
    "machines",
    "majority",
    "measure",
    "messages",
    "models",
    "motion",
    "notices",
    "overlays",
    "paths",
    "perspective",
    "pictures",
    "replacement",
    "records",
    "shapes",
    "smoothing",
    "storage",
    "trackers",
    "tracking",
    "transformations",
)
"""Modules of `runtime.workflow.blocks`; each has BLOCKS, a tuple of block classes."""


def load_blocks(*, plugins: bool = True) -> dict[str, type[Block]]:
    """Every block under its identifier and its aliases. A plugin cannot take the place of a block of ours.

    An entry point of the group names a block class, or a sequence of them.
    """
    table: dict[str, type[Block]] = {}
    if plugins:
        for point in entry_points(group=GROUP):
            loaded = point.load()
            _enter(table, [loaded] if isinstance(loaded, type) else loaded)
    for name in MODULES:
        _enter(table, importlib.import_module(f"runtime.workflow.blocks.{name}").BLOCKS)
    return table


def _enter(table: dict[str, type[Block]], blocks: Iterable[type[Block]]) -> None:
    for block in blocks:
        for identifier in block.types:
            table[identifier] = block


def distinct(table: Mapping[str, type[Block]]) -> list[type[Block]]:
    """Each block once, by its first identifier."""
    return sorted(set(table.values()), key=lambda block: block.types[0])
