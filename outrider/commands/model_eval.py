"""`outrider model eval`: how good a model is on a person's own pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.evaluation.measure import Measured, Progress, Source
    from outrider.evaluation.meter import Figures
    from outrider.sdk import Model


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", help="a package directory, a .tar.zst, or an ONNX file")
    add_data(parser)
    parser.add_argument("--engine", default="auto", help="see `outrider doctor` for those of this machine")
    parser.add_argument("--precision", default="", help="fp32, fp16, bf16 (default: the package's own)")
    add_running(parser)
    parser.add_argument("--labels", help="for an ONNX file: coco80, coco91, or a text file")
    parser.add_argument("--family", help="for an ONNX file: instead of recognising it")


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that name a data set."""
    data = parser.add_argument_group("data set")
    data.add_argument("--images", type=Path, metavar="DIR", help="the folder with the pictures")
    data.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="COCO JSON: boxes, masks or keypoints of the pictures",
    )
    data.add_argument(
        "--labels-by-folder", type=Path, metavar="DIR", help="a folder for each class, for classifiers"
    )
    data.add_argument("--masks", type=Path, metavar="DIR", help="NAME.png of class ids for each picture")
    data.add_argument(
        "--mask-labels", metavar="FILE", help="class names by mask value (default: the model's own ids)"
    )
    data.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="DATASET=MODEL",
        help="which class is which, by name; repeat it",
    )
    data.add_argument(
        "--shared-only", action="store_true", help="leave out classes that the model does not have"
    )
    data.add_argument("--limit", type=int, default=0, metavar="N", help="the first N pictures only")


def add_running(parser: argparse.ArgumentParser) -> None:
    """The options of how models are run, and of what is printed."""
    parser.add_argument("--threads", type=int, default=0, help="0 lets the engine choose")
    parser.add_argument(
        "--live", action="store_true", help="preprocess as a device does, not as the authors do"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-progress", action="store_true")


def source_of(args: argparse.Namespace) -> Source:
    """The data set of the options."""
    from outrider.evaluation.measure import Source

    return Source(
        args.images, args.annotations, args.labels_by_folder, args.masks, args.mask_labels,
        tuple(args.map), args.shared_only, args.limit,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from outrider.evaluation.measure import evaluate
    from outrider.sdk import load
    from runtime.errors import Refused, RuntimeFault
    from wire.reasons import Reason

    source = source_of(args)
    try:
        if not source.labelled:
            raise Refused(
                Reason.DATASET_INVALID,
                "nothing to measure against; give --images with --annotations or --masks, or --labels-by-folder",
            )
        data = source.open()
        with load(
            args.package, exact=not args.live, evaluation=True, engine=args.engine, threads=args.threads,
            family=args.family, labels=args.labels, precision=args.precision, unverified=bool(args.precision),
        ) as model:  # fmt: skip
            with progress_bar(args) as progress:
                measured = evaluate(model, data, source, progress)
            told = describe(model, measured)
    except (RuntimeFault, OSError) as e:
        return complain(e)
    if args.json:
        print(json.dumps(told))
    else:
        print("\n".join(report(told)))
    return 1 if measured.unanswered else 0


def complain(error: Exception) -> int:
    """Tell what is wrong, with its reason code."""
    reason = getattr(error, "reason", None)
    code = f" ({reason.value})" if reason is not None else ""
    print(f"outrider: {error}{code}", file=sys.stderr)
    return 1


class progress_bar:  # noqa: N801 - used as a function
    """A bar on a terminal's standard error while the block runs; called with pictures done and in all."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._shown = not args.no_progress and sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.end()

    def _show(self, done: int, total: int) -> None:
        from outrider.commands.infer import Bar

        if self._bar is None:
            self._bar = Bar(total, sys.stderr, shown=self._shown)
        self._bar.show(done, time.monotonic())


def describe(model: Model, measured: Measured) -> dict[str, Any]:
    """What is told of one model, as JSON."""
    figures: Figures = measured.figures
    info = model.info
    return {
        "model": model.spec.name,
        "digest": model.digest,
        "task": model.spec.task.value,
        "family": model.spec.family,
        "engine": {key: info[key] for key in ("engine", "version", "provider", "precision") if key in info},
        "pictures": measured.pictures,
        "unanswered": measured.unanswered,
        "first_cause": measured.first_cause,
        "pictures_per_s": round(measured.pictures / max(measured.taken_s, 1e-9), 2),
        "figures": figures.main,
        "classes": figures.classes,
        "notes": list(figures.notes),
        **figures.extra,
    }


def report(told: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    from outrider import table
    from outrider.commands.bench import engine_words

    engine = engine_words(told["engine"])
    lines = [
        f"model        {told['model']} ({told['digest'][:19]}), {told['task']}",
        f"engine       {engine}, {told['pictures_per_s']} pictures/s",
        f"pictures     {told['pictures']}",
        *(f"{name:12} {shown(value)}" for name, value in told["figures"].items()),
    ]
    rows = [{"class": name, **{k: shown(v) for k, v in row.items()}} for name, row in told["classes"].items()]
    if rows:
        keys = [key for key in rows[0] if key != "class"]
        lines += ["", *table.lines(rows, {"class": "class", **{k: k for k in keys}}, right=frozenset(keys))]
    if confusion := [c for c in told.get("confusion", []) if isinstance(c, dict)][:10]:
        lines += ["", "most often taken for another:"]
        lines += [f"  {c['pictures']:5} x {c['truth']} as {c['found']}" for c in confusion]
    lines += [f"note         {note}" for note in told["notes"]]
    if told["unanswered"]:
        lines.append(f"NO ANSWER    about {told['unanswered']} pictures, the first: {told['first_cause']}")
    return lines


def shown(value: float | int | None) -> str:
    """A figure; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
