"""`outrider model pack|check|build|eval|compare|families`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from wire.local import CheckResult


def configure(parser: argparse.ArgumentParser) -> None:
    from outrider.commands import model_build, model_compare, model_eval

    actions = parser.add_subparsers(
        dest="action", required=True, metavar="pack|check|build|eval|compare|families"
    )
    _configure_pack(actions.add_parser("pack", help="make a package from an ONNX file"))
    check = actions.add_parser("check", help="load a package, run it, compare its golden image")
    check.add_argument("package", type=Path, help="a package directory or a .tar.zst")
    check.add_argument("--engine", default="auto", help="auto, onnxruntime-cpu, onnxruntime-cuda")
    check.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    model_build.configure(
        actions.add_parser("build", help="make a package of another precision, or its engine")
    )
    model_eval.configure(actions.add_parser("eval", help="measure a model on your own labelled pictures"))
    model_compare.configure(
        actions.add_parser("compare", help="two models, engines or precisions side by side")
    )
    actions.add_parser("families", help="list the model families and the outputs each expects")


def _configure_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onnx", type=Path)
    parser.add_argument(
        "--out", type=Path, help="the package directory, or a file ending in .tar.zst (default: NAME.pkg)"
    )
    parser.add_argument("--name", help="the model's name (default: the file's)")
    parser.add_argument("--family", help="instead of recognising it; see `outrider model families`")
    parser.add_argument("--labels", help="coco80, coco91, or a text file with one name a line")
    parser.add_argument("--golden", metavar="IMAGE", help="a picture in which the model finds something")
    parser.add_argument(
        "--no-golden", action="store_true", help="do without; devices cannot check the model then"
    )
    parser.add_argument("--size", metavar="WxH", type=size, help="where the graph leaves its input size open")
    parser.add_argument("--score", dest="score_threshold", type=float, help="least score of a detection")
    parser.add_argument(
        "--iou", dest="iou_threshold", type=float, help="overlap above which one box suppresses another"
    )
    parser.add_argument("--max-detections", type=int)
    parser.add_argument("--nms", choices=["class", "agnostic", "none"])
    parser.add_argument("--colour", choices=["BGR", "RGB"])
    parser.add_argument("--resize", choices=["letterbox", "stretch", "centre-crop"])
    parser.add_argument("--anchor", choices=["centre", "top-left"])
    parser.add_argument("--short-side", type=int, metavar="PX", help="with centre-crop: before the crop")
    parser.add_argument("--exact", choices=["uint8", "float", "pil"], help="the authors' own resize")
    parser.add_argument("--task", choices=["classification", "multi-label"], help="of a classifier")
    parser.add_argument("--pad", type=int)
    parser.add_argument("--scale", type=float, help="divides the pixel values before mean and std")
    parser.add_argument("--mean", nargs=3, type=float, metavar=("A", "B", "C"))
    parser.add_argument("--std", nargs=3, type=float, metavar=("A", "B", "C"))
    parser.add_argument(
        "--part",
        dest="parts",
        action="append",
        type=_part,
        metavar="NAME=ONNX",
        help="of a text detector: recognition=FILE, direction=FILE",
    )
    parser.add_argument("--replace", action="store_true", help="overwrite an existing package")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels, for argparse."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, for example 640x480")
    return int(width), int(height)


def _part(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, for example recognition=rec.onnx")
    return name, file


def run(args: argparse.Namespace) -> int:
    if args.action == "families":
        return _families()
    if args.action == "eval":
        from outrider.commands import model_eval

        return model_eval.run(args)
    if args.action == "compare":
        from outrider.commands import model_compare

        return model_compare.run(args)
    verdict = {"pack": _pack, "check": _check, "build": _build}[args.action](args)
    if args.json:
        print(json.dumps({"ok": verdict.ok, "reason": verdict.reason, "message": verdict.message,
                          "problems": verdict.problems, "card": verdict.card}))  # fmt: skip
    elif verdict.ok:
        _tell(verdict.card)
    else:
        _complain(args, verdict)
    return 0 if verdict.ok else 1


def _families() -> int:
    from runtime.model import families

    for name in families.names():
        print(f"{name:12} {families.get(name).expects}")
    return 0


def _check(args: argparse.Namespace) -> CheckResult:
    from runtime.model import child

    return child.check(args.package, engine=args.engine)


def _build(args: argparse.Namespace) -> CheckResult:
    from outrider.commands import model_build

    return model_build.run(args)


def _pack(args: argparse.Namespace) -> CheckResult:
    from dataclasses import fields

    from runtime.model import archive, child
    from runtime.model.pack import PackOptions

    wishes = {f.name: getattr(args, f.name) for f in fields(PackOptions) if hasattr(args, f.name)}
    wishes["parts"] = dict(args.parts or ())
    options = PackOptions.from_json(wishes)
    out: Path = args.out or Path(f"{args.name or args.onnx.stem}.pkg")
    if not out.name.endswith(archive.SUFFIX):
        return child.pack(args.onnx, out, options)
    return _pack_archive(args.onnx, out, options)


def _pack_archive(onnx: Path, out: Path, options: Any) -> CheckResult:
    import tempfile

    from runtime.errors import ModelRefused
    from runtime.model import archive, card, child
    from wire.reasons import Reason

    if out.exists() and not options.replace:
        exists = ModelRefused(
            Reason.PACKAGE_INVALID, f"{out} exists already; name another --out, or --replace"
        )
        return card.refused(exists)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="outrider-pack-") as temporary:
        directory = Path(temporary) / out.name.removesuffix(archive.SUFFIX)
        verdict = child.pack(onnx, directory, options)
        if verdict.ok:
            archive.pack(directory, out)
            verdict.card["directory"] = str(out)
        return verdict


def _tell(card: dict[str, Any]) -> None:
    form, golden = card["input"], card["golden"]
    labels = card["labels"]
    names = ", ".join(labels[:6]) + (", …" if card["classes"] > 6 else "") if labels else "none"
    promise = (
        f"{golden['detections']} detections found again, box off by at most {golden['worst_box']:.3%} of the picture, "
        f"score by {golden['worst_score']:.4f}"
        if golden.get("present")
        else "ABSENT: results cannot be checked on a device"
    )
    lines = {
        "package": card["directory"],
        "digest": card["digest"],
        "task": f"{card['task']}, family {card['family']}",
        "recognised": card["recognised"],
        "labels": f"{card['classes']}: {names}",
        "input": f"{form['name']}: {form['width']} x {form['height']} {form['colour']} {form['layout']}, {form['resize']}, {_scaling(form)}",
        "outputs": "; ".join(card["outputs"]),
        "engine": " ".join(str(value) for value in card["engine"].values()),
        "size": f"{card['files']} files, {card['total_bytes'] / 1e6:.1f} MB",
        "golden": promise,
    }
    for name, value in lines.items():
        if value:
            print(f"{name:11} {value}")
    for note in card["notes"]:
        print(f"note        {note}")


def _scaling(form: dict[str, Any]) -> str:
    """How a pixel enters, as arithmetic."""
    mean, std = ([f"{value:g}" for value in form[name]] for name in ("mean", "std"))
    words = "v" if form["scale"] == 1 else f"v / {form['scale']:g}"
    if set(mean) != {"0"}:
        words = f"{words} - {' '.join(dict.fromkeys(mean))}"
    if set(std) != {"1"}:
        words = f"({words}) / {' '.join(dict.fromkeys(std))}"
    return "bytes as they are" if form["dtype"] == "uint8" else f"pixels as {words}"


def _complain(args: argparse.Namespace, verdict: CheckResult) -> None:
    what = args.onnx if args.action == "pack" else args.package
    print(f"outrider: {what} was refused ({verdict.reason})", file=sys.stderr)
    if not verdict.problems:
        print(f"  {verdict.message}", file=sys.stderr)
    for problem in verdict.problems:
        words = [problem["message"]]
        words += [f"expected {problem['expected']}"] if problem["expected"] else []
        words += [problem["remedy"]] if problem["remedy"] else []
        place = f"{problem['path']}: " if problem["path"] else ""
        print(f"  {place}{'; '.join(words)}", file=sys.stderr)
