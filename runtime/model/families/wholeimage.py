"""What models of the whole picture are fed with, as far as the graph tells: classifiers, embeddings, semantic segmentation.

Nothing in a graph says how its pixels were scaled when it was trained, but two things point to it: arithmetic on the picture before
the first layer, and the layout, since Keras writes NHWC and its examples divide by 255 and stretch, while PyTorch writes NCHW and
its published weights want ImageNet's mean and deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.model.families.family import IMAGENET_MEAN, IMAGENET_STD, Graph, Match
from runtime.model.spec import InputSpec

PLAIN_MEAN, PLAIN_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_LARGE = 3.0
"""Constants beyond it belong to pixels of 0 to 255; mean and deviation of pixels of 0 to 1 are far below, and so is a factor of 2."""


@dataclass(frozen=True)
class Scaling:
    """How pixels 0 to 255 enter: `(value / scale - mean) / std`; `keras`: as Keras' own examples do; `why` for people."""

    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    keras: bool
    why: str


def scaling(graph: Graph) -> Scaling:
    """The likely scaling of the graph's pixels."""
    keras = graph.layout == "NHWC"
    if graph.image.dtype == "uint8":
        return Scaling(1.0, PLAIN_MEAN, PLAIN_STD, keras, "the graph takes bytes")
    if graph.head:
        names = ", ".join(op for op, _ in graph.head)
        if _takes_bytes(*graph.head[0]):
            why = f"pixels 0 to 255, which the graph scales itself ({names})"
            return Scaling(1.0, PLAIN_MEAN, PLAIN_STD, keras, why)
        why = f"pixels 0 to 1, which the graph goes on to scale itself ({names})"
        return Scaling(255.0, PLAIN_MEAN, PLAIN_STD, keras, why)
    if keras:
        return Scaling(
            255.0, PLAIN_MEAN, PLAIN_STD, True, "pixels 0 to 1, as NHWC graphs of Keras usually take"
        )
    why = "ImageNet's mean and deviation, as published weights of PyTorch usually take"
    return Scaling(255.0, IMAGENET_MEAN, IMAGENET_STD, False, why)


def assumption(match: Match, used: InputSpec) -> list[str]:
    """What was assumed about the picture, and how to say otherwise; nothing where the graph or a person has said it."""
    scaled = (used.scale, used.mean, used.std) != (match.input.scale, match.input.mean, match.input.std)
    if not match.assumed or scaled:
        return []
    return [
        f"assumed: {match.assumed}; {used.colour}, {used.resize}. The graph does not tell how it was trained: if answers are poor, "
        "say it with --scale, --mean, --std, --colour, --resize, and measure both with `outrider model eval`"
    ]


def _takes_bytes(op: str, constants: Sequence[float]) -> bool:
    """Whether the first arithmetic on the picture only makes sense on values 0 to 255."""
    largest = max(map(abs, constants))
    if op == "Mul":
        return largest < 1 / _LARGE / 10
    return largest > _LARGE
