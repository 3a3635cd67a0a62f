"""`outrider fleet fault …` and `outrider fleet health DEVICE`: what is wrong now, and how figures went."""

from __future__ import annotations

import argparse
import re
import time
from typing import TYPE_CHECKING, Any

from outrider.commands.fleet.access import Commands, group, remote
from outrider.commands.fleet.output import dated, print_json, show

if TYPE_CHECKING:
    from fleet.client import Client

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48
UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


def configure(commands: Commands) -> None:
    """Add `fault` and `health`."""
    fault = group(commands, "fault", "what is wrong in the fleet")
    listing = remote(fault, "list", "faults, the newest first; consequences are counted, not listed", _list)
    listing.add_argument("--all", action="store_true", help="those that are over, too")
    listing.add_argument("--consequences", action="store_true", help="those that follow from others, too")
    listing.add_argument("--severity", choices=("critical", "warning", "info"), help="this bad or worse")
    listing.add_argument("--device")
    listing.add_argument("--site")
    listing.add_argument("--code")
    listing.add_argument("--selector", default="", help="only devices whose labels match, e.g. 'site=a'")
    remote(fault, "show", "one fault, what stands beneath it, what to do", _show).add_argument("id")
    remote(fault, "kinds", "every kind of fault there is", _kinds)
    drift = remote(commands, "drift", "how far what cameras see is from what they saw before", _drift)
    drift.add_argument("device", nargs="?", default="", help="the whole fleet without, the farthest first")
    drift.add_argument("--days", type=int, default=2, help="the last days, with --device")
    drift.add_argument("--reference-days", type=int, default=14, help="the days before")
    compare = remote(commands, "compare", "versions of a model over the devices that run them", _compare)
    compare.add_argument("model")
    compare.add_argument("--days", type=int, default=2)
    compare.add_argument("--selector", default="", help="only devices whose labels match")
    health = remote(commands, "health", "figures of a device over time", _health)
    health.add_argument("device")
    health.add_argument("--since", default="1d", help="how far back: 90m, 6h, 7d")
    health.add_argument("--figures", default="", help="joined by commas, e.g. fps,blind_s; all without")
    health.add_argument("--step", type=int, default=0, metavar="SECONDS")


def _list(args: argparse.Namespace, client: Client) -> int:
    rows = client.faults.all(
        active=not args.all,
        roots=not args.consequences,
        selector=args.selector,
        severity=args.severity,
        device=args.device,
        site=args.site,
        code=args.code,
    )
    columns = {
        "id": "ID",
        "severity": "SEVERITY",
        "code": "FAULT",
        "subject": "OF",
        "opened_at": "SINCE",
        "cleared_at": "OVER",
        "consequences": "BENEATH",
        "message": "DETAIL",
    }
    return show(args, rows, [dated(row, "opened_at", "cleared_at") for row in rows], columns)


def _show(args: argparse.Namespace, client: Client) -> int:
    found = client.faults.get(args.id)
    if args.json:
        return print_json(found)
    times = dated(found, "opened_at", "cleared_at")
    print(f"{found['severity']}: {found['code']} of {found['subject']}, since {times['opened_at']}")
    if times["cleared_at"]:
        print(f"over since {times['cleared_at']}")
    for words in (found["message"], found["text"], found["remedy"]):
        if words:
            print(f"  {words}")
    for each in found["beneath"]:
        print(f"  └ {each['code']} of {each['subject']}" + (" (over)" if each["cleared_at"] else ""))
    return 0


def _kinds(args: argparse.Namespace, client: Client) -> int:
    rows = client.faults.kinds()
    columns = {"code": "FAULT", "scope": "OF", "severity": "SEVERITY", "visible_s": "AFTER S", "text": "WHAT"}
    return show(args, rows, rows, columns)


def _health(args: argparse.Namespace, client: Client) -> int:
    figures = [name for name in args.figures.split(",") if name]
    chart = client.faults.chart(args.device, time.time() - seconds(args.since), None, args.step, figures)
    if args.json:
        return print_json(chart)
    rows = [
        {
            "of": " ".join(filter(None, (each["scope"], each["name"]))),
            "figure": each["figure"],
            "unit": each["unit"],
            "last": _number(next((v for v in reversed(each["values"]) if v is not None), None)),
            "mean": _number(_total(each)),
            "line": sparkline(each["values"]),
        }
        for each in chart["series"]
    ]
    columns = {"of": "OF", "figure": "FIGURE", "last": "LAST", "mean": "MEAN/SUM", "unit": "UNIT", "line": ""}
    return show(args, rows, rows, columns)


def _drift(args: argparse.Namespace, client: Client) -> int:
    rows = client.faults.drift(args.device, args.days, args.reference_days)
    columns = {
        "device": "DEVICE",
        "camera": "CAMERA",
        "scores": "CONFIDENCES PSI",
        "classes": "CLASSES PSI",
        "confidence": "CONFIDENCE",
        "brightness": "BRIGHTNESS",
    }
    shown = [
        {
            **row,
            "scores": _number(row["score_psi"]),
            "classes": _number(row["class_psi"]),
            **{
                name: f"{_number(row['reference'][name])} → {_number(row['recent'][name])}"
                for name in ("confidence", "brightness")
            },
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def _compare(args: argparse.Namespace, client: Client) -> int:
    rows = client.faults.versions(args.model, args.days, args.selector)
    columns = {
        "version": "VERSION",
        "devices": "DEVICES",
        "cameras": "CAMERAS",
        "requests": "REQUESTS",
        "errors": "ERRORS",
        "p95": "P95 MS",
        "confidence": "CONFIDENCE",
        "empty": "EMPTY",
    }
    shown = [
        {
            **row,
            "errors": _number(row["error_share"]),
            "p95": _number(row["infer_p95_ms"]),
            "confidence": _number(row["seen"]["confidence"]),
            "empty": _number(row["seen"]["empty_share"]),
        }
        for row in rows
    ]
    return show(args, rows, shown, columns)


def seconds(text: str) -> float:
    """:raises Refused: it is no time such as 90m, 6h, 7d"""
    from fleet.errors import Refused
    from wire.reasons import Reason

    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhd])", text)
    if found is None:
        raise Refused(Reason.INVALID_FIELD, f"{text!r} is no time; expected e.g. 90m, 6h or 7d")
    return float(found[1]) * UNITS_S[found[2]]


def sparkline(values: list[float | None]) -> str:
    """A line of bars, the newest values where they do not all fit; a gap where nothing is known."""
    shown = values[-WIDTH:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if value is None else BARS[int((value - low) * scale)] for value in shown)


def _total(series: Any) -> float | None:
    known = [value for value in series["values"] if value is not None]
    if not known:
        return None
    return float(sum(known)) if series["counter"] else sum(known) / len(known)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
