"""A rollout as its form has it, and the plan that the API takes. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

CANARY = ({"devices": 1.0, "soak_s": 600.0}, {"percent": 10.0}, {"percent": 50.0}, {"percent": 100.0})


@dataclass
class Wave:
    """One wave of the form: `size` of `unit` (devices or %)."""

    size: float
    unit: str
    soak_s: float = 300.0
    approval: bool = False


@dataclass
class Form:
    """What is filled in. `models` and `workflows`: name on the device → reference of the registry. `more` of the change and `rest` of the plan
    are JSON: windows, pace, patience, deadline."""

    name: str = ""
    models: dict[str, str] = field(default_factory=dict)
    workflows: dict[str, str] = field(default_factory=dict)
    more: str = ""
    selector: str = ""
    first: str = ""
    waves: list[Wave] = field(
        default_factory=lambda: [
            Wave(
                float(w.get("devices") or w["percent"]),
                "devices" if "devices" in w else "%",
                w.get("soak_s", 300.0),
            )
            for w in CANARY
        ]
    )
    success: float = 95.0
    failed: float = 5.0
    figure: str = ""
    ratio: float = 1.2
    back: bool = True
    dynamic: bool = False
    rest: str = ""


def plan_of(form: Form) -> dict[str, Any]:
    """The plan as the API takes it.

    :raises ValueError: what is written as JSON is no object
    """
    change = _object(form.more, "the further change")
    for section_name, given in (("models", form.models), ("workflows", form.workflows)):
        wanted = {name: reference for name, reference in given.items() if name and reference}
        if wanted:
            change[section_name] = {**change.get(section_name, {}), **wanted}
    gates: dict[str, Any] = {"min_success_percent": form.success, "max_failed_percent": form.failed}
    if form.figure:
        gates["compare"] = [{"figure": form.figure, "ratio": form.ratio}]
    waves = []
    for wave in form.waves:
        size: dict[str, Any] = (
            {"devices": int(wave.size)} if wave.unit == "devices" else {"percent": wave.size}
        )
        waves.append({**size, "gates": {**gates, "soak_s": wave.soak_s, "approval": wave.approval}})
    return {
        **_object(form.rest, "the rest of the plan"),
        "name": form.name,
        "change": change,
        "selector": form.selector,
        "waves": waves,
        "first": [name.strip() for name in form.first.split(",") if name.strip()],
        "on_failure": "roll-back" if form.back else "pause",
        "dynamic": form.dynamic,
    }


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError as e:
        raise ValueError(f"{what} is no JSON: {e}") from e
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")
    return value
