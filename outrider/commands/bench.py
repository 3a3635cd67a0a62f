"""`outrider bench MODEL …`: what a model costs on this machine, through the real engine process and its slots."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outrider.commands.model_eval import complain

_BAR_CHARS = 30


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a package directory, a .tar.zst, or an ONNX file"
    )
    parser.add_argument(
        "--engine", action="append", default=[], metavar="ENGINE[:PRECISION]",
        help="onnxruntime-cpu, openvino:bf16 …; repeat it to compare",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=_numbers, default=(1, 4, 8), metavar="1,4,8", help="images of a request"
    )
    parser.add_argument(
        "--cameras", type=_numbers, default=(1, 2, 4), metavar="1,2,4", help="cameras side by side"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: 3)")
    parser.add_argument(
        "--frame", type=_size, default=(1280, 720), metavar="WxH", help="the cameras' picture size"
    )
    parser.add_argument(
        "--image", default="", help="what the cameras show (default: the golden image, else noise)"
    )
    parser.add_argument("--threads", type=int, default=0, help="0 lets the engine choose")
    parser.add_argument("--labels", help="for an ONNX file: coco80, coco91, or a text file")
    parser.add_argument("--family", help="for an ONNX file: instead of recognising it")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line for each measured model"
    )
    parser.add_argument("--no-progress", action="store_true")


def _numbers(text: str) -> tuple[int, ...]:
    if not all(part.isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, for example 1,4,8")
    return tuple(int(part) for part in text.split(","))


def _size(text: str) -> tuple[int, int]:
    from outrider.commands.model import size

    return size(text)


def run(args: argparse.Namespace) -> int:
    from runtime.errors import RuntimeFault

    rows: list[dict[str, Any]] = []
    failed = 0
    for model in args.models:
        for engine in args.engine or ["auto"]:
            try:
                figures = _measure(args, model, engine)
            except (RuntimeFault, OSError) as e:
                failed += complain(e)
                continue
            rows.append(figures)
            print(json.dumps(figures) if args.json else "\n".join(report(figures)), flush=True)
    if len(rows) > 1 and not args.json:
        print("\n".join(["", *overview(rows)]))
    return 1 if failed else 0


def _measure(args: argparse.Namespace, model: str, engine: str) -> dict[str, Any]:
    from outrider.sdk import default_cache, package_directory
    from runtime.bench.measure import Bench
    from runtime.bench.plan import Plan, Subject
    from runtime.model import package

    name, _, precision = engine.partition(":")
    plan = Plan(
        args.batch, args.cameras, args.seconds, args.frame, name or "auto", precision, args.threads, args.image,
        str(default_cache()),
    )  # fmt: skip
    directory = package_directory(model, family=args.family, labels=args.labels)
    subject = Subject(directory, package.read(directory).name, package.digest(directory))
    shown = sys.stderr.isatty() and not args.no_progress
    try:
        return Bench(subject, plan, _progress(f"{Path(model).name} {engine}") if shown else _silent).run()
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _progress(title: str) -> Callable[[str, int, int], None]:
    def tell(what: str, done: int, of: int) -> None:
        full = _BAR_CHARS * done // max(of, 1)
        bar = "█" * full + "░" * (_BAR_CHARS - full)
        print(f"\r{bar} {done}/{of}  {title}: {what} …\x1b[K", end="", file=sys.stderr, flush=True)

    return tell


def _silent(_what: str, _done: int, _of: int) -> None:
    return


def report(figures: dict[str, Any]) -> list[str]:
    """One model's figures for people."""
    from outrider import table

    machine, memory, energy = figures["hardware"], figures["memory"], figures["energy"]
    frame, width_height = figures["frame"], " x ".join(map(str, figures["input"]))
    gpu = (
        f"{memory['gpu_bytes'] / 1e6:.0f} MB"
        if memory["gpu_bytes"] is not None
        else f"- ({memory['gpu_reason']})"
    )
    joules = (
        f"{energy['joules_per_frame']} J a frame, {energy['watts']} W: {energy['covers']}, idle included"
        if energy["joules_per_frame"] is not None
        else f"- ({energy['reason']})"
    )
    rows = [
        {"what": f"batch {row['batch']}", "rate": f"{row['images_per_s']:.1f}", **_latency(row), "cpu": None}
        for row in figures["batches"]
    ]
    rows += [
        {"what": _cameras(row["cameras"]), "rate": f"{row['frames_per_s']:.1f}", **_latency(row),
         "cpu": row["engine_cpu_ms_per_frame"]}
        for row in figures["cameras"]
    ]  # fmt: skip
    columns = {
        "what": "", "rate": "images/s", "p50": "p50 ms", "p95": "p95 ms", "p99": "p99 ms", "requests": "requests",
        "cpu": "CPU ms/image",
    }  # fmt: skip
    return [
        f"model     {figures['model']} ({figures['digest'][:19]}), {figures['family']}, input {width_height}",
        f"machine   {machine['name']}, {machine['cpus']} CPUs, {machine['memory_bytes'] / 1e9:.0f} GB",
        f"engine    {engine_words(figures['engine'])}, ready in {figures['load_s']:.1f} s",
        *threads_words(figures["engine"]),
        f"frames    {frame['width']} x {frame['height']}, {frame['content']}",
        "",
        *table.lines(rows, columns, right=frozenset(columns) - {"what"}),
        "",
        f"memory    {memory['rss_bytes'] / 1e6:.0f} MB resident, {memory['peak_rss_bytes'] / 1e6:.0f} MB at most; GPU {gpu}",
        f"energy    {joules}",
        *(f"note      {note}" for note in figures["notes"]),
    ]


def engine_words(engine: dict[str, Any]) -> str:
    """Name, version, where it runs, precision."""
    words = (
        str(engine[k]) for k in ("engine", "version", "provider", "device", "precision") if engine.get(k)
    )
    return " ".join(word.removesuffix("ExecutionProvider") for word in words)


def threads_words(engine: dict[str, Any]) -> list[str]:
    """How the processors are split between runs, and what else was tried."""
    if not engine.get("runs_at_once"):
        return []
    tried = [
        f"{name}: {m['per_s']:.0f}/s, {m['lone_ms']:.1f} ms" for name, m in engine.get("splits", {}).items()
    ]
    words = f"threads   {engine['threads']} x {engine['runs_at_once']} runs at once"
    return [words + (f"; measured {'; '.join(tried)} alone" if tried else "; not measured")]


def _cameras(count: int) -> str:
    return f"{count} camera{'s' if count > 1 else ''}"


def _latency(row: dict[str, Any]) -> dict[str, str | int | None]:
    latency = row["latency_ms"]
    marks = {key: None if latency[key] is None else f"{latency[key]:.1f}" for key in ("p50", "p95", "p99")}
    return {**marks, "requests": latency["requests"]}


def overview(rows: list[dict[str, Any]]) -> list[str]:
    """Several measurements, a line each."""
    from outrider import table

    shown = [
        {
            "model": row["model"],
            "engine": engine_words(row["engine"]),
            "p50": row["latency_ms"]["p50"],
            "p99": row["latency_ms"]["p99"],
            "rate": best_rate(row),
            "memory": f"{row['memory']['peak_rss_bytes'] / 1e6:.0f}",
        }
        for row in rows
    ]
    columns = {
        "model": "MODEL", "engine": "ENGINE", "p50": "p50 ms", "p99": "p99 ms", "rate": "most images/s", "memory": "MB",
    }  # fmt: skip
    return table.lines(shown, columns, right=frozenset(("p50", "p99", "rate", "memory")))


def best_rate(row: dict[str, Any]) -> float | None:
    """The most images a second that any of its measurements reached."""
    rates = [b["images_per_s"] for b in row["batches"]] + [c["frames_per_s"] for c in row["cameras"]]
    return max(rates, default=None)
