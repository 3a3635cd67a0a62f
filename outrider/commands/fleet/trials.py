"""`outrider fleet workflow check|try|get`: a definition before it is uploaded, and a stored one as a file."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, remote
from outrider.commands.fleet.output import pair, print_json

if TYPE_CHECKING:
    from fleet.client import Client
    from fleet.shapes import TrialView


def add(commands: Commands) -> None:
    """Add the commands to those of workflows."""
    check = remote(commands, "check", "what an upload would say; nothing is kept", _check)
    check.add_argument("path", type=Path)
    trial = remote(commands, "try", "run a definition over a picture or a clip, on the control plane", _try)
    trial.add_argument("path", type=Path)
    trial.add_argument("media", type=Path, help="a picture or a short clip")
    trial.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID=MODEL",
        help="a model of the registry for a model_id",
    )
    trial.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="the value of a parameter"
    )
    trial.add_argument("--frames", type=int, default=200, help="at most so many of a clip")
    trial.add_argument("--out", type=Path, help="a folder for the annotated pictures")
    get = remote(commands, "get", "the definition of a version", _get)
    get.add_argument("reference", metavar="NAME[@VERSION]")


def _check(args: argparse.Namespace, client: Client) -> int:
    verdict = client.check_workflow(_read(args.path))
    if args.json:
        print_json(verdict)
    elif verdict["ok"]:
        print(f"{args.path}: fine, {len(verdict['card'].get('steps', []))} step(s)")
    else:
        print(f"{args.path}: {verdict['message']}", file=sys.stderr)
    return 0 if verdict["ok"] else 1


def _try(args: argparse.Namespace, client: Client) -> int:
    models = dict(map(pair, args.model))
    parameters = {name: _value(text) for name, text in map(pair, args.set)}
    tried = client.try_workflow(_read(args.path), _read(args.media), models, parameters, args.frames)
    if args.out is not None:
        _save(args.out, tried)
    if args.json:
        return print_json(tried)
    for frame in tried["frames"]:
        print(json.dumps({"frame": frame["frame"], "outputs": frame["outputs"], "errors": frame["errors"]}))
    ended = f", {tried['ended']}" if tried["ended"] else ""
    print(f"{tried['done']} frames{ended}, {tried['blind']} without an answer", file=sys.stderr)
    for step, failure in tried["failed"].items():
        print(
            f"outrider fleet: {step} failed on {failure['frames']} frame(s): {failure['message']}",
            file=sys.stderr,
        )
    if tried["not_sent"]:
        print(f"not sent, as this is a trial: {', '.join(tried['not_sent'])}", file=sys.stderr)
    return 1 if tried["failed"] or tried["blind"] else 0


def _save(folder: Path, tried: TrialView) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame in tried["frames"]:
        (folder / f"{frame['frame']:06d}.jpg").write_bytes(base64.b64decode(frame["picture"]))


def _get(args: argparse.Namespace, client: Client) -> int:
    name, _, reference = args.reference.partition("@")
    newest = reference or str(client.versions("workflow", name)[0]["version"])
    return print_json(client.definition(name, newest))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(path: Path) -> bytes:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        return path.read_bytes()
    except OSError as e:
        raise Refused(Reason.INVALID_FIELD, f"{path} cannot be read: {e.strerror or e}") from e
