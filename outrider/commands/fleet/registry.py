"""`outrider fleet model|workflow …`: what the registry holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet import catalogue, trials
from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet.client import Client


def configure(commands: Commands) -> None:
    """Add `model` and `workflow`."""
    model = group(commands, "model", "models of the registry")
    upload = remote(model, "upload", "check and store a model package", _model_upload)
    upload.add_argument(
        "path", type=Path, help="a package directory or its .tar.zst, .tar or .zip; or an .onnx, packed there"
    )
    upload.add_argument("--name", help="the name in the registry; the package's own by default")
    upload.add_argument("--family", default="", help="of an .onnx that is not recognised")
    upload.add_argument("--task", default="", help="of an .onnx of a classifier: classification, multi-label")
    upload.add_argument(
        "--labels", default="", help="of an .onnx: coco80, coco91, names with commas, or a text file of names"
    )
    remote(model, "list", "models and their versions", _model_list)
    catalogue.add(model, "model")
    workflow = group(commands, "workflow", "workflows of the registry")
    upload = remote(workflow, "upload", "check and store a workflow definition", _workflow_upload)
    upload.add_argument("path", type=Path)
    upload.add_argument("--name", help="the name in the registry; the file's by default")
    remote(workflow, "list", "workflows and their versions", _workflow_list)
    catalogue.add(workflow, "workflow")
    catalogue.add_diff(workflow)
    trials.add(workflow)


def _model_upload(args: argparse.Namespace, client: Client) -> int:
    shown = sys.stderr.isatty() and not args.json
    wishes = {"family": args.family, "task": args.task, "labels": _labels(args.labels)}
    answer = client.upload_model(args.path, args.name, progress if shown else None, **wishes)
    status = uploaded(args, answer)
    if not args.json:
        for words in filter(None, (answer["card"].get("recognised"), *answer["card"].get("notes", ()))):
            print(f"  {words}", file=sys.stderr)
    return status


def _labels(given: str) -> str:
    """The names in a file of this machine, or what is given as it is."""
    path = Path(given)
    return path.read_text(encoding="utf-8-sig") if given and path.is_file() else given


def _workflow_upload(args: argparse.Namespace, client: Client) -> int:
    return uploaded(args, client.upload_workflow(args.path, args.name))


def uploaded(args: argparse.Namespace, answer: Mapping[str, Any]) -> int:
    if args.json:
        return print_json(answer)
    print(f"{answer['name']}@{answer['version']} {answer['digest']}")
    return 0


def progress(sent: int, total: int) -> None:
    done = sent >= total
    bar = "#" * (30 * sent // max(total, 1))
    rest = "checking …\n" if done else ""
    print(
        f"\r[{bar:30}] {sent / 1e6:.1f} of {total / 1e6:.1f} MB {rest}", end="", file=sys.stderr, flush=True
    )


def _model_list(args: argparse.Namespace, client: Client) -> int:
    return _versions(args, client.models())


def _workflow_list(args: argparse.Namespace, client: Client) -> int:
    return _versions(args, client.workflows())


def _versions(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> int:
    columns = {
        "name": "NAME",
        "version": "VERSION",
        "digest": "DIGEST",
        "aliases": "ALIASES",
        "size": "SIZE",
        "created_at": "WHEN",
    }
    shown = [{**dated(row, "created_at"), "size": f"{row['size_bytes'] / 1e6:.2f} MB"} for row in rows]
    return show(
        args,
        rows,
        [{**row, "digest": row["digest"][:19], "aliases": ", ".join(row["aliases"])} for row in shown],
        columns,
    )
