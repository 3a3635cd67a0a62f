"""`outrider model compare A B`: two versions, two engines or two precisions, side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands import model_eval

if TYPE_CHECKING:
    from outrider.evaluation.compare import Comparison
    from outrider.sdk import Model

_CONTENDER = "PACKAGE[@ENGINE[:PRECISION]], for example cap.pkg@openvino or cap.pkg@:fp16"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help=_CONTENDER)
    parser.add_argument("b", help="the same")
    model_eval.add_data(parser)
    model_eval.add_running(parser)
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page with the pictures that differ most"
    )
    parser.add_argument("--worst", type=int, default=12, metavar="N", help="how many of them (default: 12)")
    parser.add_argument(
        "--classes", type=int, default=20, metavar="N", help="classes in the table (default: 20)"
    )


def run(args: argparse.Namespace) -> int:
    from outrider.evaluation.compare import compare
    from outrider.evaluation.contender import Contender
    from runtime.errors import RuntimeFault

    source = model_eval.source_of(args)
    contenders = [Contender.parse(args.a), Contender.parse(args.b)]
    how: dict[str, Any] = {"exact": not args.live, "evaluation": source.labelled, "threads": args.threads}
    try:
        data = source.open()
        with contenders[0].load(**how) as a, contenders[1].load(**how) as b:
            with model_eval.progress_bar(args) as progress:
                found = compare(a, b, data, source, args.worst if args.report else 0, progress)
            told = describe((a, b), contenders[0].name, contenders[1].name, found)
        if args.report:
            told["report"] = str(_report(args, told, found))
    except (RuntimeFault, OSError) as e:
        return model_eval.complain(e)
    print(json.dumps(told) if args.json else "\n".join(report(told, args.classes)))
    return 1 if found.notes else 0


def describe(models: tuple[Model, Model], name_a: str, name_b: str, found: Comparison) -> dict[str, Any]:
    """What is told of the comparison, as JSON."""
    from outrider.evaluation.compare import differences

    told: dict[str, Any] = {
        letter: {"name": name, "digest": model.digest, "engine": _engine(model), "pictures_per_s": rate}
        for letter, name, model, rate in zip(
            "AB", (name_a, name_b), models, found.pictures_per_s, strict=True
        )
    }
    told |= {"agreement": found.tally.figures(), "classes": found.tally.classes(), "notes": list(found.notes)}
    if found.a is not None and found.b is not None:
        told["measured"] = differences(found.a.figures, found.b.figures)
        notes = (*found.a.figures.notes, *found.b.figures.notes)
        told["notes"] = list(dict.fromkeys([*told["notes"], *notes]))
    return told


def _engine(model: Model) -> dict[str, Any]:
    info = model.info
    return {
        key: info[key] for key in ("engine", "version", "provider", "device", "precision") if info.get(key)
    }


def report(told: dict[str, Any], classes: int) -> list[str]:
    """The same as lines for people."""
    from outrider import table

    lines = [f"{letter}  {_side(told[letter])}" for letter in "AB"]
    lines.append("")
    if measured := told.get("measured"):
        lines += table.lines(
            [
                {key: value if key == "what" else model_eval.shown(value) for key, value in row.items()}
                for row in measured
            ],
            {"what": "", "A": "A", "B": "B", "B - A": "B - A"},
            right=frozenset(("A", "B", "B - A")),
        )[: classes + 8]
        lines.append("")
    lines += [f"{name:16} {'-' if value is None else value}" for name, value in told["agreement"].items()]
    rows = [{"class": name, **row} for name, row in told["classes"].items()][:classes]
    if rows:
        columns = {key: key for key in rows[0]}
        lines += ["", *table.lines(rows, columns, right=frozenset(columns) - {"class"})]
    lines += [f"note  {note}" for note in told["notes"]]
    if "report" in told:
        lines += ["", f"the pictures that differ most: {told['report']}"]
    return lines


def _side(side: dict[str, Any]) -> str:
    from outrider.commands.bench import engine_words

    engine = engine_words(side["engine"])
    return f"{side['name']} ({side['digest'][:19]}), {engine}, {side['pictures_per_s']} pictures/s"


def _report(args: argparse.Namespace, told: dict[str, Any], found: Comparison) -> Path:
    from outrider.evaluation import report as page

    agreement = [{"what": name, "figure": value} for name, value in told["agreement"].items()]
    classes = [{"class": name, **row} for name, row in told["classes"].items()]
    tables = {"Measured": told.get("measured", []), "Agreement": agreement, "Agreement by class": classes}
    sides = [_side(told[letter]) for letter in "AB"]
    return page.write(args.report, "Two models compared", sides, tables, told["notes"], found.cases)
