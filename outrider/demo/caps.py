"""The demo's own camera and models: the bottle caps of `examples/bottle_caps`, in a checkout of the sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from outrider.demo.cast import Cast, played
from outrider.demo.packages import Version, golden_frame
from outrider.demo.processes import DemoFailed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "bottle_caps"
WORKFLOW = ROOT / "examples" / "workflows" / "bottle_caps.json"
MODEL_ID = "caps/1"
CLASSES = ("good", "scratched", "dented", "misprinted", "no_liner")
SHOWN = ("passed", *(f"count_{name}" for name in CLASSES))
LINE_X_PX = 470.0
"""Where the workflow's line lies."""
SEED = 4242
DECK = "good,good,good,scratched,dented,misprinted,no_liner,no_liner"
"""More defects than a good line would have, so that a minute shows enough of each."""
CLIP_S = 75.0
SPARE_S = 10.0
"""More than is watched, so that the clip does not end first."""
RENDER_DEADLINE_S = 180.0


def cast(seconds: float) -> Cast:
    """The bottle caps, with a clip of so many seconds.

    :raises DemoFailed: not a checkout, or the clip cannot be rendered
    """
    _demand_checkout()
    clip, truth = _clip(seconds)
    return Cast(str(clip), "live", False, WORKFLOW, MODEL_ID, _versions(), "every", truth, SHOWN)


def before(source: str, loop: bool, into: Path) -> Cast:
    """The cap inspector before the user's own camera; a still of a file is looked at first, so that a wrong path is told at once.

    :raises DemoFailed: not a checkout, or the source is none
    """
    _demand_checkout()
    golden_frame(source, into)
    place, pace = played(source)
    return Cast(place, pace, loop, WORKFLOW, MODEL_ID, _versions(), "changes", None, SHOWN)


def _demand_checkout() -> None:
    if not (EXAMPLE / "render.py").is_file():
        raise DemoFailed("the bottle caps are in the source checkout only; give --source and --model")


def _versions() -> tuple[Version, Version]:
    return (
        Version(EXAMPLE / "packages" / "v1", "v1", "version 1 (not taught no_liner)"),
        Version(EXAMPLE / "packages" / "v2", "v2", "version 2"),
    )


def _clip(seconds: float) -> tuple[Path, Path]:
    """The rendered clip and its truth; rendered once, and again when the example's sources change."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "outrider" / "demo"
    cache.mkdir(parents=True, exist_ok=True)
    sources = hashlib.sha256(
        b"".join((EXAMPLE / name).read_bytes() for name in ("scene.py", "cap.py", "belt.py", "render.py"))
    )
    sources.update(DECK.encode())
    stem = f"caps-{SEED}-{seconds:.0f}-{sources.hexdigest()[:12]}"
    clip, truth = cache / f"{stem}.mp4", cache / f"{stem}.json"
    if clip.is_file() and truth.is_file():
        return clip, truth
    part = cache / f"{stem}.part.mp4"
    command = [
        sys.executable,
        "-m",
        "examples.bottle_caps.render",
        "--out",
        str(part),
        "--seconds",
        str(seconds),
    ]
    command += ["--seed", str(SEED), "--deck", DECK, "--truth", str(truth)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RENDER_DEADLINE_S)
    if done.returncode:
        raise DemoFailed(f"the clip could not be rendered: {done.stderr.strip()}")
    os.replace(part, clip)
    return clip, truth
