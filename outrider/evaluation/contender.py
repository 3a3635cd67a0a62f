"""A model as it is named in a comparison: `PACKAGE[@ENGINE[:PRECISION]]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.model.spec import DecodeSpec
from runtime.results import Result

if TYPE_CHECKING:
    from outrider.sdk import Model


@dataclass(frozen=True)
class Contender:
    """`engine` and `precision` may be empty: the best engine of the machine, the package's own precision."""

    name: str
    package: str
    engine: str = ""
    precision: str = ""

    @classmethod
    def parse(cls, text: str) -> Contender:
        """A path that exists is a path, whatever it holds; else what follows the last `@` is engine and precision."""
        package, at, rest = text.rpartition("@")
        if not at or Path(text).exists():
            return cls(text, text)
        engine, _, precision = rest.partition(":")
        return cls(text, package, engine, precision)

    def load(self, *, exact: bool, evaluation: bool, threads: int) -> Model:
        """A precision that was asked for is run without the proof of the golden image: this measures what it costs.

        :raises ModelRefused: see `outrider.sdk.load`
        """
        from outrider.sdk import load

        return load(
            self.package,
            exact=exact,
            evaluation=evaluation,
            engine=self.engine or "auto",
            threads=threads,
            precision=self.precision,
            unverified=bool(self.precision),
        )


def package_decoding(model: Model) -> DecodeSpec:
    """What the package counts as a detection, whatever the model was loaded with."""
    from runtime.model import package

    return package.read(model.directory).decode


def visible(result: Result, decode: DecodeSpec) -> Result:
    """The detections a device would tell, out of the many that evaluation keeps: its score, its NMS, its number."""
    from runtime.model.nms import nms

    kept = result.select(result.scores >= decode.score_threshold)
    if decode.nms == "none" or kept.oriented is not None:
        return kept.select(np.arange(min(len(kept), decode.max_detections)))
    ids = kept.class_ids if decode.nms == "class" else None
    order = nms(
        kept.boxes, kept.scores, ids, iou_threshold=decode.iou_threshold, max_detections=decode.max_detections
    )
    return kept.select(np.sort(order))
