"""One model: its card, what it costs on which hardware, its versions, the devices that run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.console import register
from fleet.console.pages.workflows import way
from fleet.console.parts import cells, posting, seen
from fleet.console.parts.layout import empty, fact, facts, figure, page_head, section
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import tag, text
from fleet.console.parts.versions import notes, uses, versions
from fleet.console.seat import Role, Seat
from fleet.console.versions import size

HARDWARE = (
    Column("hardware", "Hardware"),
    Column("engine", "Engine"),
    Column("p50", "Median", "number"),
    Column("p99", "p99", "number"),
    Column("rate", "Images/s", "number"),
    Column("memory", "Memory", "number"),
    Column("device", "Device"),
    Column("at", "When", "tight"),
)
SHOWN_LABELS = 24


@register.page("/models/{name}", "Model")
async def model(seat: Seat, name: str, version: str = "") -> None:
    posting.files(seat)
    rows = await seat.api.all(f"/registry/model/{name}/versions")
    row = await seat.api.get(f"/registry/model/{name}/versions/{version or rows[0]['version']}")
    number, card = row["version"], row["card"]
    with page_head(name):
        text(f"version {number}", "chip info")
        for alias in row["aliases"]:
            text(alias, "label")
        tag("div", "grow")
        denied = seat.denied_somewhere(Role.OPERATOR)
        way(seat, "Roll out…", f"/rollout-draft?model={name}@{number}", "primary", denied)
    with tag("div", "figures"):
        figure("task", card.get("task") or "not told")
        figure("family", card.get("family") or "not told")
        figure("classes", card.get("classes", "not told"))
        figure("size", size(row["size_bytes"]))
        for metric, value in list(row["notes"].get("metrics", {}).items())[:3]:
            figure(metric, f"{value:g}")
    with tag("div", "columns"):
        with tag("div"):
            _card(row)
        with tag("div"):
            notes(seat, "model", row)
            _labels(card.get("labels") or ())
    await seen.place(seat, name)
    await _hardware(seat, row["digest"])
    versions(seat, "model", name, rows, number)
    await uses(seat, "model", name, number)


def _card(row: Mapping[str, Any]) -> None:
    card = row["card"]
    given: Mapping[str, Any] = card.get("input") or {}
    golden: Mapping[str, Any] = card.get("golden") or {}
    told = {
        "Input": f"{given.get('width')} x {given.get('height')}, {given.get('resize')}, {given.get('colour')}"
        if given
        else "",
        "Precision": card.get("precision", ""),
        "Outputs": "; ".join(card.get("outputs", ())),
        "Recognised": card.get("recognised", ""),
        "Golden picture": _golden(golden),
        "Checked with": " ".join(filter(None, (card.get("engine") or {}).values())),
        "Digest": row["digest"],
        "Uploaded by": row["created_by"],
    }
    with section("Card"), tag("div", "section-body"), facts():
        for title, words in told.items():
            if words:
                with fact(title):
                    text(words, "code" if title in ("Digest", "Outputs") else "")
        for note in card.get("notes", ()):
            with fact("Note"):
                text(note)


def _golden(golden: Mapping[str, Any]) -> str:
    if not golden:
        return ""
    if not golden.get("present"):
        return "none: devices cannot prove the model before they use it"
    return f"found again on every device that takes it{', ' + str(golden['detections']) + ' detections' if golden.get('detections') else ''}"


def _labels(labels: Sequence[str]) -> None:
    if not labels:
        return
    with section("Labels", f"{len(labels)}"), tag("div", "section-body"):
        for label in labels[:SHOWN_LABELS]:
            text(label, "label")
        if len(labels) > SHOWN_LABELS:
            with tag("details"):
                text(f"and {len(labels) - SHOWN_LABELS} more", name="summary")
                for label in labels[SHOWN_LABELS:]:
                    text(label, "label")


async def _hardware(seat: Seat, digest: str) -> None:
    measured = await seat.api.all("/benchmarks", model=digest)
    with section("On the fleet's hardware", "measured on the devices themselves"):
        if measured:
            Rows("What it costs", HARDWARE, [_measured(each) for each in measured])
        else:
            empty(
                "Nothing was measured yet", "outrider fleet bench run DEVICE MODEL has a device measure it."
            )


def _measured(row: Mapping[str, Any]) -> Row:
    figures = row["figures"]
    latency = figures.get("latency_ms") or {}
    rates = [batch.get("images_per_s") or 0.0 for batch in figures.get("batches", ())]
    memory = (figures.get("memory") or {}).get("rss_bytes")
    return Row(
        f"{row['device']}/{row['engine']}",
        {
            "hardware": cells.words(row["hardware"]),
            "engine": cells.words(row["engine"]),
            "p50": cells.words(_ms(latency.get("p50"))),
            "p99": cells.words(_ms(latency.get("p99"))),
            "rate": cells.words(f"{max(rates):.1f}" if rates else ""),
            "memory": cells.words(size(memory) if memory else ""),
            "device": cells.link(row["device"], f"/devices/{row['device']}"),
            "at": cells.when(row["at"]),
        },
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"
