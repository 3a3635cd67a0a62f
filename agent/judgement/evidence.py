"""What is known of a change since the switch, as the gates take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.judgement.blocks import Block
from wire.local import Likeness
from wire.local.pipeline import SCORE_BINS


@dataclass(frozen=True)
class Pairs:
    """What the former model and the new one said of the same pictures. `former_sure`: those in which the former is sure to see
    something; `new_blank`: of these, those in which the new one sees nothing."""

    compared: int = 0
    former_sure: int = 0
    new_blank: int = 0
    former_scores: tuple[int, ...] = (0,) * SCORE_BINS
    new_scores: tuple[int, ...] = (0,) * SCORE_BINS
    former_classes: Mapping[str, int] = field(default_factory=dict)
    new_classes: Mapping[str, int] = field(default_factory=dict)


def of_witness(likeness: Likeness) -> Pairs:
    """The new model is at work, the former one looks on."""
    return Pairs(
        likeness.compared,
        likeness.other_sure,
        likeness.live_blank,
        tuple(likeness.other_scores),
        tuple(likeness.live_scores),
        likeness.other_classes,
        likeness.live_classes,
    )


@dataclass(frozen=True)
class Memory:
    """Resident bytes of an engine process, once a second, since it was warm."""

    resident: tuple[int, ...] = ()


@dataclass(frozen=True)
class Machine:
    """The device, before the change at its worst and now. `foreign_cpu`: share of the processor that other programs take.
    `relief`: share of its frames that the device can bear."""

    celsius_before: float | None = None
    celsius: float | None = None
    foreign_cpu_before: float = 0.0
    foreign_cpu: float = 0.0
    relief_before: float = 1.0
    relief: float = 1.0


@dataclass(frozen=True)
class Evidence:
    """Of one pipeline: `blocks` of a second each since the switch, and by model id what the former model says of the same
    pictures, where it still can be asked. `restarts` of its engines. `run_cpu_ms`: processor time of a run of its engines, and of
    the former ones before the switch; `witness_cpu_ms`: of the former ones since, in the same seconds, where they look on. None where it is not
    known."""

    blocks: tuple[Block, ...] = ()
    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    restarts: int = 0
    memory: Mapping[str, Memory] = field(default_factory=dict)
    run_cpu_ms: float | None = None
    former_run_cpu_ms: float | None = None
    witness_cpu_ms: float | None = None
    machine: Machine = Machine()
