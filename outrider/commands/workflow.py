"""`outrider workflow check|run|schema`: look at a definition, run it over a source, list the blocks."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.commands.infer import Frame, Frames
    from outrider.sdk import Model
    from runtime.model.engine import Engine, Ticket
    from runtime.model.spec import ModelSpec
    from runtime.results import Image
    from runtime.workflow.executor import Executor, Outcome

DEADLINE_S = 60.0


class _Loaded:
    """A model of the SDK as an engine."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def digest(self) -> str:
        return self._model.digest

    def submit(self, images: Sequence[Image]) -> Ticket:
        from runtime.model.engine import Done

        return Done(tuple(self._model.ask(images)))

    def close(self) -> None:
        self._model.close()


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="print everything that is wrong with a definition")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
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
    run_.add_argument("--json", metavar="FILE", help="one JSON object a frame; default standard output")
    run_.add_argument("--limit", type=int, default=0, help="stop after this many frames")
    actions.add_parser("schema", help="print the JSON Schema of every block")


def run(args: argparse.Namespace) -> int:
    from runtime.errors import RuntimeFault

    try:
        if args.action == "check":
            return _check(args)
        return _schema() if args.action == "schema" else _run(args)
    except (RuntimeFault, OSError) as e:
        print(f"outrider: {e}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> int:
    from runtime.workflow.check import check_file

    result = check_file(args.file)
    if args.json:
        body = {"ok": result.ok, "reason": result.reason, "problems": result.problems, **result.card}
        print(json.dumps(body, indent=2))
    elif result.ok:
        card = result.card
        print(f"{args.file}: fine, {len(card['steps'])} step(s)")
        for name in ("model_ids", "blocks", "outputs"):
            print(f"  {name}: {', '.join(card[name]) or 'none'}")
    else:
        print(result.message, file=sys.stderr)
    return 0 if result.ok else 1


def _schema() -> int:
    from runtime.workflow.registry import distinct, load_blocks

    steps = [block.schema() for block in distinct(load_blocks())]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A step of a workflow",
        "oneOf": steps,
    }
    print(json.dumps(document, indent=2))
    return 0


def _run(args: argparse.Namespace) -> int:
    from outrider.commands.infer import open_frames
    from runtime.workflow.check import read_document
    from runtime.workflow.compiler import compile_definition
    from runtime.workflow.executor import Executor

    graph = compile_definition(read_document(args.file))
    frames = open_frames(args.source)
    with ExitStack() as held:
        engines = _engines(_pairs(args.model, "--model"), graph.model_ids, held)
        stream: IO[str] = sys.stdout
        if args.json and args.json != "-":
            stream = held.enter_context(Path(args.json).open("w", encoding="utf-8"))
        parameters = {name: _value(text) for name, text in _pairs(args.set, "--set").items()}
        return _loop(frames, Executor(graph, engines), parameters, stream, args.limit)


def _pairs(texts: list[str], flag: str) -> dict[str, str]:
    from runtime.errors import Refused
    from wire.reasons import Reason

    pairs: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise Refused(Reason.INVALID_FIELD, f"{flag} {text!r}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _engines(packages: dict[str, str], wanted: tuple[str, ...], held: ExitStack) -> dict[str, Engine]:
    """An engine for each model of the workflow.

    :raises WorkflowRefused: a model_id has no package
    :raises ModelRefused: a package cannot serve
    """
    from outrider.sdk import load
    from runtime.errors import WorkflowRefused
    from wire.reasons import Reason

    if missing := [model_id for model_id in wanted if model_id not in packages]:
        text = ", ".join(f"--model {model_id}=PACKAGE" for model_id in missing)
        raise WorkflowRefused(Reason.UNKNOWN_REFERENCE, f"the workflow needs {text}")
    engines: dict[str, Engine] = {}
    for model_id, package in packages.items():
        model = held.enter_context(load(package, exact=False))
        engines[model_id] = _Loaded(model)
    return engines


def _loop(frames: Frames, executor: Executor, parameters: dict[str, Any], stream: IO[str], limit: int) -> int:
    from runtime.workflow.values import ImageValue, VideoMetadata

    failed = 0
    for frame in frames.each():
        if limit and frame.number >= limit:
            break
        metadata = VideoMetadata(
            frames.name, frame.number + 1, frame.at_s or 0.0, frames.fps, frames.is_video
        )
        picture = ImageValue(frame.image, metadata)
        images = dict.fromkeys(executor.graph.image_inputs, picture)
        outcome = executor.run({**parameters, **images}, DEADLINE_S)
        failed += bool(outcome.errors) or outcome.no_answer is not None
        stream.write(json.dumps(_line(frame, outcome), separators=(",", ":")) + "\n")
    if failed:
        print(f"outrider: {failed} frame(s) had steps that failed; see `errors`", file=sys.stderr)
    return 1 if failed else 0


def _line(frame: Frame, outcome: Outcome) -> dict[str, Any]:
    from runtime.workflow.serialise import to_json

    body: dict[str, Any] = {"frame": frame.number}
    if frame.name:
        body["file"] = frame.name
    if frame.at_s is not None:
        body["at_s"] = round(frame.at_s, 3)
    body["outputs"] = to_json(outcome.outputs[0])
    if outcome.errors:
        body["errors"] = outcome.errors
    if outcome.no_answer is not None:
        body["no_answer"] = {"reason": outcome.no_answer.reason.value, "message": outcome.no_answer.message}
    return body
