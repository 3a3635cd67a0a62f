"""`outrider model build`: a package of another precision, or the engine of a package made ahead of time on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from wire.local import CheckResult


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, help="a package directory of FP32")
    parser.add_argument(
        "--precision",
        choices=["fp16", "int8", "fp8"],
        help="make a package of this precision; without it only the engine is built for this machine",
    )
    parser.add_argument(
        "--calibration", metavar="FOLDER", help="pictures the model will see, for int8 and fp8; 100 are good"
    )
    parser.add_argument("--out", type=Path, help="the new package (default: NAME-PRECISION.pkg)")
    parser.add_argument(
        "--box-tolerance", type=float, metavar="SHARE", help="of the golden image's longer side"
    )
    parser.add_argument("--score-tolerance", type=float, metavar="SCORE")
    parser.add_argument("--engine", default="auto", help="what proves the new package, or is built for")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")


def run(args: argparse.Namespace) -> CheckResult:
    """The verdict on what was made."""
    from runtime.model import child

    if args.precision is None:
        return child.check(args.package, engine=args.engine, deadline_s=child.BUILD_DEADLINE_S)
    from runtime.model.precision.build import BuildOptions

    options = BuildOptions(
        precision=args.precision,
        calibration=args.calibration,
        box_tolerance=args.box_tolerance,
        score_tolerance=args.score_tolerance,
        engine=args.engine,
    )
    out = args.out or Path(f"{args.package.name.removesuffix('.pkg')}-{args.precision}.pkg")
    return child.build(args.package, out, options)
