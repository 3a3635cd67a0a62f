"""`outrider demo`: everything on this machine, on the user's camera and model."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from outrider.demo.processes import DemoFailed


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="a video file, rtsp://…, or a device number such as 0"
    )
    parser.add_argument("--model", required=True, type=Path, help="an .onnx file or a model package")
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
    parser.add_argument("--keep", action="store_true", help="keep the directory with state and logs")


def run(args: argparse.Namespace) -> int:
    from outrider.demo.stage import Stage
    from outrider.demo.story import Story, Wishes

    signal.signal(signal.SIGTERM, _interrupt)
    root = Path(tempfile.mkdtemp(prefix="outrider-demo-"))
    stage = Stage(root)
    wishes = Wishes(
        args.source, args.model, args.swap_model, args.labels, not args.once, args.duration, args.swap_after
    )
    story = Story(stage, wishes, lambda text: print(text, flush=True))
    status = 0
    try:
        story.set_up()
        story.watch()
        story.close()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        story.close()
    except DemoFailed as e:
        print(f"outrider demo: {e}", file=sys.stderr)
        status = 1
    finally:
        print("ending every process …", flush=True)
        stage.stop()
        if args.keep:
            print(f"state and logs are in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    if status == 0:
        print(story.report())
        if args.json:
            args.json.write_text(json.dumps(dataclasses.asdict(story.summary)))
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
