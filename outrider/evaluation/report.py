"""The report of a comparison: a folder with one page and the pictures on which the two differ most, both results drawn."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from outrider.evaluation.compare import Case
from runtime.draw import annotate
from runtime.results import Image, Result

PAGE = "index.html"
PICTURES = "pictures"
WIDTH_PX = 800
"""Of each of the two in a picture."""
MAX_GAIN = 2.0
"""A small picture is made larger, so that names can be read."""
_GAP_PX = 8
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 104rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .15rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid #8884; }
img { width: 100%; height: auto; } figure { margin: 2rem 0; } figcaption { margin-bottom: .4rem; }
code { font-size: .9em; }
"""


def write(
    out: Path,
    title: str,
    sides: Sequence[str],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str],
    cases: Sequence[Case],
) -> Path:
    """Write the folder; the page's path. `tables`: heading → rows of one form; `sides`: what A and B are.

    :raises OSError: it cannot be written
    """
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    figures = []
    for number, case in enumerate(cases, 1):
        name = f"{PICTURES}/{number:03d}.jpg"
        if not cv2.imwrite(str(out / name), side_by_side(case)):
            raise OSError(f"{out / name}: cannot be written")
        figures.append(
            f"<figure><figcaption><b>{html.escape(case.path.name)}</b> — {html.escape(words(case))}</figcaption>"
            f'<img src="{name}" loading="lazy" alt="A left, B right"></figure>'
        )
    named = "".join(
        f"<li><b>{letter}</b> <code>{html.escape(side)}</code></li>"
        for letter, side in zip("AB", sides, strict=True)
    )
    body = [f"<h1>{html.escape(title)}</h1><ul>{named}</ul>"]
    body += [f"<h2>{html.escape(heading)}</h2>{_table(rows)}" for heading, rows in tables.items() if rows]
    body += [f"<p>{html.escape(note)}</p>" for note in notes]
    heading = f"The {len(figures)} pictures that differ most" if figures else "No picture differs"
    body += [
        f"<h2>{heading}</h2><p>A is on the left, B on the right; what only one found, or where two class maps differ, has a white border.</p>"
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    (out / PAGE).write_text(
        f"{page}<style>{_STYLE}</style>{''.join(body + figures)}</html>\n", encoding="utf-8"
    )
    return out / PAGE


def words(case: Case) -> str:
    """What differs, in a few words."""
    agreement = case.agreement
    if case.a is None or case.b is None:
        return f"{'A' if case.a is None else 'B'} gave no answer"
    if agreement.same is not None and case.a.classes is None:
        return f"{100 * agreement.same:.2f} % the same"
    if case.a.classes is not None and case.b.classes is not None:
        names = [r.label(int(np.argmax(r.classes))) for r in (case.a, case.b) if r.classes is not None]
        return f"{names[0]} against {names[1]}, a score off by {max(agreement.score_offs):.3f}"
    parts = [f"{len(agreement.ious)} found by both"]
    parts += [f"{len(agreement.only_a)} only by A"] if agreement.only_a else []
    parts += [f"{len(agreement.only_b)} only by B"] if agreement.only_b else []
    if agreement.ious:
        parts.append(
            f"least overlap {100 * min(agreement.ious):.1f} %, score off by at most {max(agreement.score_offs):.3f}"
        )
    return ", ".join(parts)


def side_by_side(case: Case) -> Image:
    """A left, B right, at most `WIDTH_PX` wide each."""
    from outrider.sdk import read_image

    image = read_image(case.path)
    gain = min(MAX_GAIN, WIDTH_PX / image.shape[1])
    size = (max(1, round(image.shape[1] * gain)), max(1, round(image.shape[0] * gain)))
    small = np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR), np.uint8
    )
    left = _drawn(small, case.a, case.agreement.only_a)
    right = _drawn(small, case.b, case.agreement.only_b)
    _outline(left, right, case)
    gap = np.full((left.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.asarray(np.concatenate([left, gap, right], axis=1), np.uint8)


def _outline(left: Image, right: Image, case: Case) -> None:
    """Draw the border of where two class maps differ, on both."""
    maps = [
        result.semantic for result in (case.a, case.b) if result is not None and result.semantic is not None
    ]
    if len(maps) < 2 or maps[0].shape != maps[1].shape:
        return
    differs = (maps[0] != maps[1]).astype(np.uint8)
    sized = cv2.resize(differs, left.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    borders, _ = cv2.findContours(sized, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for canvas in (left, right):
        for ink, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.drawContours(canvas, borders, -1, ink, thickness)


def _drawn(image: Image, result: Result | None, alone: Sequence[int]) -> Image:
    if result is None:
        return np.array(image, np.uint8)
    canvas = annotate(image, result)
    gain = np.array([canvas.shape[1] / result.image_wh[0], canvas.shape[0] / result.image_wh[1]] * 2)
    for i in alone:
        left, top, right, bottom = np.round(result.boxes[i] * gain).astype(int).tolist()
        for ink, thickness in (((0, 0, 0), 7), ((255, 255, 255), 3)):  # no class has these two
            cv2.rectangle(canvas, (left - 4, top - 4), (right + 4, bottom + 4), ink, thickness)
    return canvas


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    lines = (
        "<tr>"
        + "".join(f"<td>{html.escape('' if v is None else str(v))}</td>" for v in row.values())
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
