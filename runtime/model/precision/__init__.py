"""In what precision a model computes: what was asked for, what the package is, and the proof that it is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import ModelRefused
from runtime.model.spec import ModelSpec
from wire.problem import nearest
from wire.reasons import Reason

if TYPE_CHECKING:
    from runtime.model.session import LoadedModel

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
BUILT = ("fp16", "int8", "fp8")
"""Those that `outrider model build` writes into the graph of a package."""


@dataclass(frozen=True)
class Precision:
    """`name` is for people; `graph` is what the graph is converted to on loading, `engine` what the engine is told."""

    name: str
    graph: str = "fp32"
    engine: str = "fp32"


def chosen(asked: str, spec: ModelSpec) -> Precision:
    """The package's own, or what was asked for.

    :raises ModelRefused: PRECISION_UNAVAILABLE
    """
    name = asked or spec.precision
    if name not in PRECISIONS:
        hint = nearest(name, PRECISIONS)
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"no precision is called {name!r}; expected one of {', '.join(PRECISIONS)}"
            + (f"; {hint}" if hint else ""),
        )
    if name == "bf16" and spec.precision in ("fp32", "bf16"):
        return Precision(name, engine=name)
    if name == spec.precision:
        return Precision(name)
    if name == "fp32" and spec.precision == "bf16":
        return Precision(name)
    if name == "fp16" and spec.precision == "fp32":
        return Precision(name, graph=name)
    remedy = (
        f"make one: outrider model build PACKAGE --precision {name} --calibration IMAGES"
        if name in ("int8", "fp8")
        else f"use the package it was built from, or ask for {spec.precision}"
    )
    raise ModelRefused(
        Reason.PRECISION_UNAVAILABLE,
        f"model {spec.name!r} is {spec.precision} and cannot be run in {name}; {remedy}",
    )


def verify(model: LoadedModel) -> None:
    """The golden image's result must be the promised one: computed in FP32, whatever this model computes in.

    :raises ModelRefused: GOLDEN_ABSENT or GOLDEN_MISMATCH
    """
    if not model.check_golden()["present"]:
        raise ModelRefused(
            Reason.GOLDEN_ABSENT,
            f"model {model.spec.name!r} has no golden image, so nothing says that {model.precision.name} is good enough; "
            "pack it with --golden IMAGE, or run it in fp32",
        )
