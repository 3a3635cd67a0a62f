"""`outrider demo`: everything on this machine, on the user's camera and model."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.demo.processes import DemoFailed

if TYPE_CHECKING:
    from outrider.demo.cast import Cast
    from outrider.demo.story import Story

OWN_SWAP_AFTER_S = 20.0
"""When the demo's own second version is pushed."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", help="a video file, rtsp://…, or a device number such as 0; else a rendered conveyor"
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="an .onnx file or a model package for --source; else the bottle-cap inspector",
    )
    parser.add_argument(
        "--swap-model", type=Path, help="the model to swap to; else the same weights with a higher threshold"
    )
    parser.add_argument("--labels", default="", help="labels of the model: coco80, or a file with one a line")
    parser.add_argument("--once", action="store_true", help="play a file once instead of again and again")
    parser.add_argument(
        "--duration", type=float, default=0.0, metavar="S", help="end after this many seconds"
    )
    parser.add_argument(
        "--swap-after", type=float, default=0.0, metavar="S", help="swap by itself after this many seconds"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary as JSON")
    parser.add_argument(
        "--record", type=Path, metavar="FILE.mp4", help="write the annotated picture as a video"
    )
    parser.add_argument("--keep", action="store_true", help="keep the directory with state and logs")


def run(args: argparse.Namespace) -> int:
    from outrider.demo.stage import Stage
    from outrider.demo.story import Story, Wishes

    if args.model is not None and args.source is None:
        print(
            "outrider demo: --model needs a camera to look through; give --source too, or neither",
            file=sys.stderr,
        )
        return 2
    wishes = Wishes(args.duration, args.swap_after or (0.0 if args.source else OWN_SWAP_AFTER_S))
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(_restore_signals)
        root = Path(tempfile.mkdtemp(prefix="outrider-demo-"))
        cleaning.callback(_remove, root, args.keep)
        stage = Stage(root)
        cleaning.callback(stage.stop)
        cleaning.callback(_ending)
        try:
            story = Story(stage, _cast(args, root / "packages"), wishes, lambda text: print(text, flush=True))
        except DemoFailed as e:
            print(f"outrider demo: {e}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
        status = _play(story, args.record)
    if status == 0:
        print(story.report())
        if args.json:
            args.json.write_text(json.dumps(dataclasses.asdict(story.summary)))
    return status


def _cast(args: argparse.Namespace, packages: Path) -> Cast:
    """:raises DemoFailed: the model or the clip cannot be had"""
    from outrider.demo import caps, cast

    packages.mkdir()
    if args.source is None:
        print("the bottle-cap conveyor, rendered once …", flush=True)
        return caps.cast(args.duration + caps.SPARE_S if args.duration else caps.CLIP_S)
    if args.model is None:
        print(
            "no model is given: the bottle-cap inspector looks through this camera; --model brings your own",
            flush=True,
        )
        return caps.before(args.source, not args.once, packages)
    print("packing the model …", flush=True)
    return cast.own(args.source, args.model, args.swap_model, args.labels, not args.once, packages)


def _play(story: Story, record: Path | None) -> int:
    try:
        story.set_up()
        with story.recording(record) if record else contextlib.nullcontext():
            story.watch()
    except KeyboardInterrupt:
        _ignore_signals()
    except DemoFailed as e:
        print(f"outrider demo: {e}", file=sys.stderr)
        return 1
    story.close()
    return 0


def _ending() -> None:
    """From here on a second Ctrl-C must not cut the cleaning short."""
    _ignore_signals()
    print("ending every process …", flush=True)


def _remove(root: Path, keep: bool) -> None:
    if keep:
        print(f"state and logs are in {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _restore_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
