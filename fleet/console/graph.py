"""A workflow drawn: inputs, steps and outputs in layers from top to bottom, as SVG. Pure.

Arrows that pass over layers run through gaps kept free for them; those from one node share their way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

from fleet.console.definition import Node, wiring

NODE_WIDTH, NODE_HEIGHT = 178, 46
LANE_WIDTH = 14
GAP_X, GAP_Y = 18, 34
MARGIN = 10
SWEEPS = 6
NAME_CHARS, TYPE_CHARS = 22, 27


@dataclass(frozen=True)
class StepFigures:
    """What a step takes, in microseconds a frame, and on how many frames it failed; nothing where it is not known."""

    mean_us: float | None = None
    errors: int = 0


@dataclass
class _Place:
    """A node or a lane of an arrow, in its layer."""

    key: str
    layer: int
    width: int
    x: float = 0.0
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)

    @property
    def centre(self) -> float:
        return self.x + self.width / 2


def draw(
    document: Any, figures: Mapping[str, StepFigures] | None = None, problems: Mapping[str, str] | None = None
) -> str:
    """The picture. `figures` by step name; `problems` by key of a node (`steps.count`): drawn in red, the words as its title."""
    found = wiring(document)
    if not found.nodes:
        return ""
    nodes = {node.key: node for node in found.nodes}
    layers = _layers(list(nodes), found.arrows, nodes)
    places, ways = _placed(nodes, layers, found.arrows)
    width = max(place.x + place.width for place in places.values()) + MARGIN
    height = MARGIN * 2 + (max(layers.values()) + 1) * (NODE_HEIGHT + GAP_Y) - GAP_Y
    lines = [_way(places, way, nodes) for way in ways]
    boxes = [
        _node(nodes[key], places[key], (figures or {}).get(nodes[key].name), (problems or {}).get(key, ""))
        for key in nodes
    ]
    label = escape(f"Workflow of {sum(node.kind == 'step' for node in nodes.values())} steps", quote=True)
    return (
        f'<svg class="graph" role="img" aria-label="{label}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def _layers(keys: list[str], arrows: list[tuple[str, str]], nodes: Mapping[str, Node]) -> dict[str, int]:
    """Each below all that it hangs on. A circle, which is a mistake, is cut where it closes."""
    above: dict[str, list[str]] = {key: [] for key in keys}
    for source, target in arrows:
        above[target].append(source)
    layers: dict[str, int] = {}
    for key in keys:
        _deepen(key, above, layers)
    last_step = max((layers[k] for k in keys if nodes[k].kind == "step"), default=-1)
    for key in keys:
        if nodes[key].kind == "output":
            layers[key] = last_step + 1
    return _closed_up(layers, above, nodes)


def _deepen(key: str, above: Mapping[str, list[str]], layers: dict[str, int]) -> None:
    stack, open_keys = [key], {key}
    while stack:
        here = stack[-1]
        waiting = [k for k in above[here] if k not in layers and k not in open_keys]
        if waiting:
            stack.append(waiting[0])
            open_keys.add(waiting[0])
            continue
        stack.pop()
        layers[here] = max((layers[k] + 1 for k in above[here] if k in layers), default=0)


def _closed_up(
    layers: dict[str, int], above: Mapping[str, list[str]], nodes: Mapping[str, Node]
) -> dict[str, int]:
    """Inputs down to just above the first that reads them."""
    for key in [k for k in layers if nodes[k].kind == "input"]:
        readers = [layers[k] for k, sources in above.items() if key in sources]
        layers[key] = max(0, min(readers) - 1) if readers else layers[key]
    least = min(layers.values())
    return {key: layer - least for key, layer in layers.items()}


def _placed(
    nodes: Mapping[str, Node], layers: Mapping[str, int], arrows: list[tuple[str, str]]
) -> tuple[dict[str, _Place], list[list[str]]]:
    places = {key: _Place(key, layers[key], NODE_WIDTH) for key in nodes}
    ways = []
    for source, target in arrows:
        first, last = layers[source], layers[target]
        way = [source]
        for layer in range(first + 1, last):
            lane = f"{source}~{layer}"
            places.setdefault(lane, _Place(lane, layer, LANE_WIDTH))
            way.append(lane)
        way.append(target)
        ways.append(way)
        for one, two in pairwise(way):
            if two not in places[one].below:
                places[one].below.append(two)
                places[two].above.append(one)
    _arrange(places)
    return places, ways


def _arrange(places: dict[str, _Place]) -> None:
    """Within each layer in the order of the neighbours' middles, a few times down and up."""
    rows: dict[int, list[_Place]] = {}
    for place in places.values():
        rows.setdefault(place.layer, []).append(place)
    widest = max(sum(p.width for p in row) + GAP_X * (len(row) - 1) for row in rows.values())
    for row in rows.values():
        _spread(row, widest)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in sorted(rows, reverse=not down):
            row = rows[layer]

            def middle(place: _Place, down: bool = down) -> float:
                near = place.above if down else place.below
                return sum(places[k].centre for k in near) / len(near) if near else place.centre

            row.sort(key=middle)
            _spread(row, widest, [middle(place) for place in row])


def _spread(row: list[_Place], widest: float, wanted: list[float] | None = None) -> None:
    """From left to right without overlap, as near to what is wanted as the widest row allows."""
    total = sum(p.width for p in row) + GAP_X * (len(row) - 1)
    if wanted is None:
        x = MARGIN + (widest - total) / 2
        for place in row:
            place.x = x
            x += place.width + GAP_X
        return
    edge, right = float(MARGIN), MARGIN + widest
    rest = total
    for place, middle in zip(row, wanted, strict=True):
        place.x = min(max(edge, middle - place.width / 2), right - rest)
        edge = place.x + place.width + GAP_X
        rest -= place.width + GAP_X


def _top(layer: int) -> float:
    return MARGIN + layer * (NODE_HEIGHT + GAP_Y)


def _way(places: Mapping[str, _Place], way: list[str], nodes: Mapping[str, Node]) -> str:
    first = places[way[0]]
    d = f"M{first.centre:.1f} {_top(first.layer) + NODE_HEIGHT:.1f}"
    for above, key in pairwise(way):
        before, place = places[above], places[key]
        top = _top(place.layer)
        bend = GAP_Y / 2
        start = _top(before.layer) + NODE_HEIGHT
        d += f"C{before.centre:.1f} {start + bend:.1f} {place.centre:.1f} {top - bend:.1f} {place.centre:.1f} {top:.1f}"
        if key not in nodes:
            d += f"V{top + NODE_HEIGHT:.1f}"
    kind = nodes[way[0]].kind
    return f'<path class="arrow from-{kind}" d="{d}"/>'


def _node(node: Node, place: _Place, figures: StepFigures | None, problem: str) -> str:
    x, y = place.x, _top(place.layer)
    state = " bad" if problem else " warn" if figures and figures.errors else ""
    title = "\n".join(filter(None, (f"{node.kind} {node.name}", node.type, _told(figures), problem)))
    parts = [
        f'<g class="node {node.kind}{state}" data-node="{escape(node.key, quote=True)}"><title>{escape(title)}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="{NODE_HEIGHT / 2 if node.kind != "step" else 7}"/>',
    ]
    if node.kind == "step":
        parts.append(_text(x + 11, y + 19, "name", _short(node.name, NAME_CHARS)))
        parts.append(_text(x + 11, y + 35, "type", _short(_block(node.type), TYPE_CHARS)))
        if figures is not None and figures.mean_us is not None:
            parts.append(_text(x + NODE_WIDTH - 10, y + 19, "figure", _time(figures.mean_us), end=True))
        if figures is not None and figures.errors:
            parts.append(_text(x + NODE_WIDTH - 10, y + 35, "errors", f"{figures.errors:,} failed", end=True))
        if problem:
            parts.append(_text(x + NODE_WIDTH - 10, y + 35, "errors", "problem", end=True))
    else:
        parts.append(_text(x + 20, y + 19, "name", _short(node.name, NAME_CHARS)))
        parts.append(_text(x + 20, y + 35, "type", "output" if node.kind == "output" else _block(node.type)))
    return "".join([*parts, "</g>"])


def _text(x: float, y: float, kind: str, words: str, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>'


def _told(figures: StepFigures | None) -> str:
    if figures is None or figures.mean_us is None:
        return ""
    return f"{_time(figures.mean_us)} a frame" + (
        f", failed on {figures.errors:,} frames" if figures.errors else ""
    )


def _time(mean_us: float) -> str:
    return f"{mean_us:.0f} µs" if mean_us < 1000 else f"{mean_us / 1000:.1f} ms"


def _block(identifier: str) -> str:
    """Without its publisher."""
    return identifier.rpartition("/")[2].removeprefix("roboflow_")


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"
