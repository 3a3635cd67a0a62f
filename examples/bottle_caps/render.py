"""Writes a clip of the conveyor: `python -m examples.bottle_caps.render --out clip.mp4 --seconds 30 --seed 7 [--truth truth.json]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2

from examples.bottle_caps.scene import CLASSES, DECK, FPS, HEIGHT_PX, WIDTH_PX, Scene, Truth


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write a clip of the bottle-cap conveyor.")
    parser.add_argument("--out", type=Path, required=True, help="FILE.mp4, or FILE.png for one frame")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=int, default=0, help="number of the first frame")
    parser.add_argument(
        "--deck", default=",".join(DECK), help="the classes to deal from, with commas between"
    )
    parser.add_argument("--truth", type=Path, help="also write what is in each frame, as JSON")
    arguments = parser.parse_args(argv)
    deck = tuple(arguments.deck.split(","))
    if unknown := sorted(set(deck) - set(CLASSES)):
        print(
            f"--deck: no class is called {', '.join(unknown)}; known are {', '.join(CLASSES)}",
            file=sys.stderr,
        )
        return 2
    scene = Scene(arguments.seed, deck=deck)
    if arguments.out.suffix == ".png":
        image, truth = scene.frame(arguments.start)
        written, truths = cv2.imwrite(str(arguments.out), image), [truth]
    else:
        count = max(1, round(arguments.seconds * FPS))
        written, truths = write_clip(scene, arguments.out, arguments.start, count)
    if not written:
        print(f"{arguments.out}: cannot be written; name a file in a folder that exists", file=sys.stderr)
        return 1
    if arguments.truth:
        arguments.truth.write_text(json.dumps(truth_json(arguments.seed, arguments.start, truths)))
    return 0


def write_clip(scene: Scene, path: Path, start: int, count: int) -> tuple[bool, list[list[Truth]]]:
    """Frames `start` … `start + count - 1` as MPEG-4; whether it could be written, and the truth by frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH_PX, HEIGHT_PX))
    truths = []
    try:
        if not writer.isOpened():
            return False, []
        for k in range(start, start + count):
            image, truth = scene.frame(k)
            writer.write(image)
            truths.append(truth)
    finally:
        writer.release()
    return True, truths


def truth_json(seed: int, start: int, truths: list[list[Truth]]) -> dict[str, Any]:
    """`frames[i]` holds the caps of frame `start + i`: id, class, box x1 y1 x2 y2 in pixels, visible share."""
    return {
        "seed": seed,
        "fps": FPS,
        "image_wh": [WIDTH_PX, HEIGHT_PX],
        "classes": list(CLASSES),
        "start": start,
        "frames": [
            [
                {"id": cap.cap_id, "class": cap.name, "box": list(cap.box), "visible": round(cap.visible, 3)}
                for cap in truth
            ]
            for truth in truths
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
