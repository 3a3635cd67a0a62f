"""What a model sees: its versions beside one another, and the cameras that are farthest from what they saw before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.console.parts import cells
from fleet.console.parts.layout import empty, section
from fleet.console.parts.numbers import number
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.seat import Seat

VERSIONS = (
    Column("version", "Version", "tight"),
    Column("cameras", "Cameras", "number"),
    Column("found", "Detections", "number"),
    Column("confidence", "Mean confidence", "number"),
    Column("empty", "Empty pictures", "number"),
    Column("errors", "Errors", "number"),
    Column("p95", "p95", "number"),
)
DRIFT = (
    Column("camera", "Camera"),
    Column("drift", "Drift", "tight"),
    Column("scores", "Confidences", "number"),
    Column("classes", "Classes", "number"),
    Column("confidence", "Mean confidence", "number"),
)
LARGE, SMALL = 0.25, 0.1
"""Usual bounds of the population stability index, as `drift-large` has them."""
SHOWN = 20


async def place(seat: Seat, name: str) -> None:
    """Both, over the devices that may be seen."""
    versions = (await seat.api.get(f"/models/{name}/compare"))["items"]
    with section("What it sees", "the last two days; what a camera saw counts where this is its only model"):
        if not versions:
            empty(
                "Nothing was seen lately",
                "Devices tell it with their health; it is looked at four times an hour.",
            )
            return
        Rows("What it sees", VERSIONS, [_version(each) for each in versions])
    running = await _running(seat, name)
    found = [each for each in await seat.api.all("/drift", most=500) if each["device"] in running]
    with section(
        "Drift",
        "how far the last two days are from the two weeks before: 0.1 is a small change, 0.25 a large one",
    ):
        if found:
            Rows("Drift", DRIFT, [_drift(each) for each in found[:SHOWN]])
        else:
            empty("Nothing to compare yet", "It takes a day before, and 200 detections on either side.")


async def _running(seat: Seat, name: str) -> set[str]:
    devices: set[str] = set()
    for version in await seat.api.all(f"/registry/model/{name}/versions"):
        path = f"/registry/model/{name}/versions/{version['version']}/devices"
        devices |= {use["device"] for use in await seat.api.all(path) if use["running"]}
    return devices


def _version(row: Mapping[str, Any]) -> Row:
    seen = row["seen"]
    return Row(
        str(row["version"]),
        {
            "version": cells.words(
                f"version {row['version']}",
                "one device" if row["devices"] == 1 else f"{row['devices']} devices",
            ),
            "cameras": cells.words(row["cameras"]),
            "found": cells.words(f"{seen['detections']:,}"),
            "confidence": cells.words(_share(seen["confidence"])),
            "empty": cells.words(_percent(seen["empty_share"])),
            "errors": cells.words(_percent(row["error_share"])),
            "p95": cells.words(number(row["infer_p95_ms"], "ms")),
        },
    )


def _drift(row: Mapping[str, Any]) -> Row:
    known = [value for value in (row["score_psi"], row["class_psi"]) if value is not None]
    worst = max(known, default=None)
    if worst is None:
        chip = cells.chip("too little seen", "")
    else:
        chip = (
            cells.chip("large", "warn")
            if worst >= LARGE
            else cells.chip("small", "info" if worst >= SMALL else "ok")
        )
    before, now = row["reference"]["confidence"], row["recent"]["confidence"]
    return Row(
        f"{row['device']}/{row['camera']}",
        {
            "camera": cells.link(
                row["camera"], f"/devices/{row['device']}/cameras/{row['camera']}", row["device"]
            ),
            "drift": chip,
            "scores": cells.words(_share(row["score_psi"])),
            "classes": cells.words(_share(row["class_psi"])),
            "confidence": cells.words(f"{_share(before)} → {_share(now)}"),
        },
    )


def _share(value: float | None) -> str:
    return "not told" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "not told" if value is None else f"{100 * value:.1f} %"
