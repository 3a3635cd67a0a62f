"""`outrider workflow check|run|schema`: look at a definition, run it over a source, list the blocks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.workflow.permits import Permits


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="print everything that is wrong with a definition")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    _permitting(check)
    run_ = actions.add_parser("run", help="run a definition over a video, pictures or a camera")
    run_.add_argument("file", type=Path)
    run_.add_argument("--source", required=True, help="a video, a picture, a folder, rtsp://…, a number")
    run_.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID=PACKAGE",
        help="which package serves a model_id; once for each",
    )
    run_.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="the value of a parameter"
    )
    run_.add_argument(
        "--json",
        metavar="FILE",
        help="one JSON object a frame; - is standard output, the default without --out",
    )
    run_.add_argument(
        "--out", type=Path, help="a video (.mp4, .avi), a picture or a folder with what was drawn or seen"
    )
    run_.add_argument(
        "--draw", metavar="OUTPUT", help="which output is the picture for --out; the last one by default"
    )
    run_.add_argument("--limit", type=int, default=0, help="stop after this many frames")
    run_.add_argument("--no-progress", action="store_true", help="no progress bar")
    _permitting(run_)
    actions.add_parser("schema", help="print the JSON Schema of definitions and of every block")


def _permitting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip-cloud-blocks",
        action="store_true",
        help="pass over blocks that do not run on a device; they give nothing",
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="take Python that the definition brings; `run` runs it, here and now",
    )


def permits_of(args: argparse.Namespace, *, running: bool) -> Permits:
    """What the command line allows."""
    from runtime.workflow.permits import Code, Permits

    allowed = Code.RUN if running else Code.READ
    return Permits(args.skip_cloud_blocks, allowed if args.allow_code else Code.REFUSE)


def run(args: argparse.Namespace) -> int:
    from runtime.errors import RuntimeFault

    try:
        if args.action == "check":
            return _check(args)
        if args.action == "schema":
            return _schema()
        from outrider.commands.workflow_run import run_over

        return run_over(args, permits_of(args, running=True))
    except (RuntimeFault, OSError) as e:
        print(f"outrider: {e}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> int:
    from runtime.workflow.check import check_file

    result = check_file(args.file, permits_of(args, running=False))
    if args.json:
        body = {
            "ok": result.ok,
            "reason": result.reason,
            "message": result.message,
            "problems": result.problems,
            **result.card,
        }
        print(json.dumps(body, indent=2))
    elif result.ok:
        card = result.card
        print(f"{args.file}: fine, {len(card['steps'])} step(s)")
        for name in ("model_ids", "blocks", "outputs"):
            print(f"  {name}: {', '.join(card[name]) or 'none'}")
        for step in card["passed_over"]:
            print(f"  passed over: step {step['step']!r}, {step['block']}; instead: {step['instead']}")
        if card["code"]:
            print(f"  brings code: {', '.join(card['code'])}")
    else:
        count = len(result.problems)
        print(f"{args.file}: {count} problem(s)" if count else f"{args.file}:", file=sys.stderr)
        print(result.message, file=sys.stderr)
    return 0 if result.ok else 1


def _schema() -> int:
    from runtime.workflow.registry import load_blocks
    from runtime.workflow.schema import definition_schema

    print(json.dumps(definition_schema(load_blocks()), indent=2))
    return 0
