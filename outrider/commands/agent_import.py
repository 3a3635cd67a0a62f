"""`outrider agent import PATH`: a bundle from a stick, copied in and judged by the agent."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

POLL_S = 0.5
DONE = frozenset({"COMMITTED", "REJECTED", "ROLLED_BACK"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("path", type=Path, help="a directory or .tar of `outrider fleet bundle export`")
    parser.add_argument(
        "--wait", type=float, default=600.0, metavar="SECONDS", help="for the agent; 0 does not wait"
    )


def run(config: Any, arguments: argparse.Namespace) -> int:
    """:returns: 0 once the revision runs, or lies ready for an agent that is not running; 1 where it is refused"""
    from agent import identity
    from agent.bundle import INBOX, Reader, carry_in
    from agent.errors import Refused
    from agent.inbox import OUTCOME
    from wire.reasons import Reason

    who = identity.load(config.state_dir)
    if who is None:
        raise Refused(Reason.CONFIG_INVALID, f"this device is not enrolled ({config.state_dir})")
    outcome = config.state_dir / INBOX / OUTCOME
    outcome.unlink(missing_ok=True)
    carry_in(
        Reader(arguments.path),
        config.state_dir,
        who.device,
        _progress if sys.stderr.isatty() else lambda _done, _total: None,
        keep_free_bytes=config.limits.free_space_bytes,
    )
    print("copied; the stick is not needed any more")
    if _status(config) is None:
        print("the agent is not running: it takes the bundle in when it starts")
        return 0
    return _wait(config, outcome, arguments.wait)


def _wait(config: Any, outcome: Path, wait_s: float) -> int:
    end_mono = time.monotonic() + wait_s
    told: dict[str, Any] | None = None
    while time.monotonic() < end_mono:
        if told is None:
            with contextlib.suppress(OSError, ValueError):
                told = json.loads(outcome.read_text())
        if told is not None and not told["ok"]:
            print(f"outrider agent: refused: {told['message']} [{told['reason']}]", file=sys.stderr)
            return 1
        reported = (_status(config) or {}).get("reported", {}) if told else {}
        if told and reported.get("offered", 0) >= told["revision"] and reported.get("phase") in DONE:
            return _ended(reported, told["revision"])
        time.sleep(POLL_S)
    if wait_s > 0:
        print(f"outrider agent: not done within {wait_s:.0f} s; see `outrider agent status`", file=sys.stderr)
        return 1
    return 0


def _ended(reported: dict[str, Any], revision: int) -> int:
    if reported["revision"] >= revision:
        print(f"revision {reported['revision']} runs")
        return 0
    print(
        f"outrider agent: revision {revision}: {reported['phase']}: {reported.get('message')} [{reported.get('reason')}]",
        file=sys.stderr,
    )
    return 1


def _status(config: Any) -> dict[str, Any] | None:
    """What the running agent says; None where none answers."""
    import httpx

    from agent.daemon import PORT_FILE

    try:
        port = (config.run_dir / PORT_FILE).read_text().strip()
        answer = httpx.get(f"http://{config.http_host}:{port}/status", timeout=5.0, trust_env=False)
        return dict(answer.json())
    except (httpx.HTTPError, OSError, ValueError):
        return None


def _progress(done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\r{done / 1e6:.1f} of {total / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)
