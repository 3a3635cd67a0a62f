"""The model families, one module each. Others join through the entry point group `outrider.families`.

A module's entry point names an object that fulfils `runtime.model.families.family.Family`.
"""

from __future__ import annotations

import importlib
import logging

from runtime.errors import ModelRefused
from runtime.model.families.family import Family, Graph, Match
from wire.problem import nearest
from wire.reasons import Reason

logger = logging.getLogger(__name__)

ENTRY_POINTS = "outrider.families"

BUILT_IN: dict[str, str] = {
    "yolox": "runtime.model.families.yolox:YoloX",
    "nanodet": "runtime.model.families.nanodet:NanoDet",
    "nanodet-plus": "runtime.model.families.nanodet:NanoDetPlus",
    "picodet": "runtime.model.families.nanodet:PicoDet",
    "fastestdet": "runtime.model.families.fastestdet:FastestDet",
    "yolo": "runtime.model.families.yolo:Yolo",
    "yolo-end2end": "runtime.model.families.yoloend:YoloEnd",
    "rfdetr": "runtime.model.families.rfdetr:RfDetr",
    "rtdetr": "runtime.model.families.rtdetr:RtDetr",
    "ultraface": "runtime.model.families.faces:UltraFace",
    "yunet": "runtime.model.families.faces:YuNet",
    "movenet": "runtime.model.families.movenet:MoveNet",
    "segmentation": "runtime.model.families.segmentation:Segmentation",
    "db": "runtime.model.families.text:TextDetection",
    "ctc": "runtime.model.families.text:TextReading",
    "classifier": "runtime.model.families.classifier:Classifier",
    "embedding": "runtime.model.families.embedding:Embedding",
}
"""Name → `module:class`, imported when it is asked for: a device that runs one family loads one."""


def names() -> tuple[str, ...]:
    """Every family that can be named, those of other distributions included."""
    return (*BUILT_IN, *sorted(set(_others()) - set(BUILT_IN)))


def get(name: str) -> Family:
    """The family of this name.

    :raises ModelRefused: there is none, or its distribution cannot be imported
    """
    target = BUILT_IN.get(name) or _others().get(name)
    if target is None:
        hint = nearest(name, names())
        raise ModelRefused(
            Reason.FAMILY_UNKNOWN,
            f"no family is called {name!r}; expected one of {', '.join(names())}"
            + (f"; {hint}" if hint else ""),
        )
    module, _, attribute = target.partition(":")
    try:
        family: Family = getattr(importlib.import_module(module), attribute)()
    except Exception as e:  # another distribution's code
        raise ModelRefused(
            Reason.FAMILY_UNKNOWN, f"family {name!r} at {target} cannot be imported: {e}; install it again"
        ) from e
    return family


def recognise(graph: Graph) -> list[Match]:
    """What the graph may be, in the order of the registry; more than one match is for a person to decide.

    A family of another distribution that fails is passed over, with a warning.
    """
    matches = []
    for name in names():
        try:
            match = get(name).recognise(graph)
        except Exception as e:  # another distribution's code; ours are not to fail
            if name in BUILT_IN:
                raise
            logger.warning("family %r is passed over: %s: %s", name, type(e).__name__, e)
            continue
        if match is not None:
            matches.append(match)
    return matches


def _others() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
