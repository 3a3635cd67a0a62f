"""Trains the example's detectors on rendered frames and writes them as ONNX. Needs PyTorch (the extra `train`).

    python -m examples.bottle_caps.train --version 1 --work /tmp/caps
    python -m examples.bottle_caps.train --version 2 --work /tmp/caps --start /tmp/caps/v1.pt --steps 1500 --rate 1e-3

Version 1 was never told of a missing liner: such caps were labelled good when it was trained. Version 2 knows every class.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from examples.bottle_caps import network
from examples.bottle_caps.cap import CLASSES
from examples.bottle_caps.dataset import INPUT_HEIGHT_PX, INPUT_WIDTH_PX, Frames, render

UNTAUGHT = {1: "no_liner"}
"""The defect that a version was not taught."""
_AVERAGE = 0.995
_WARM_UP = 60
_REPORT_EVERY = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--version", type=int, choices=(1, 2), required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder for frames, weights and ONNX")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--scenes", type=int, default=100, help="40 frames each")
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.work.mkdir(parents=True, exist_ok=True)
    frames = taught(rendered(arguments.work / "frames.npz", arguments.scenes), arguments.version)
    model = network.CapDetector(len(CLASSES))
    if arguments.start:
        model.load_state_dict(torch.load(arguments.start, weights_only=True))
    batches = draw(frames, arguments.batch, np.random.default_rng(arguments.seed))
    model = train(model, batches, arguments.steps, arguments.rate)
    torch.save(model.state_dict(), arguments.work / f"v{arguments.version}.pt")
    export(model, arguments.work / f"caps_v{arguments.version}.onnx")


def rendered(path: Path, scenes: int) -> Frames:
    """The frames of the training scenes, from the file where it is there already."""
    if not path.exists():
        started = time.monotonic()
        render(scenes).save(path)
        print(f"rendered {scenes} scenes in {time.monotonic() - started:.0f} s", flush=True)
    return Frames.load(path)


def taught(frames: Frames, version: int) -> Frames:
    """The labels as this version's teacher gave them."""
    labels = frames.labels.copy()
    if (untaught := UNTAUGHT.get(version)) is not None:
        classes = labels[..., 0]
        classes[classes == CLASSES.index(untaught)] = CLASSES.index("good")
    return Frames(frames.images, labels)


def draw(frames: Frames, batch: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end: images (B, 3, H, W) float32, 0 to 255, and labels (B, M, 6); mirrored and relit at random."""
    while True:
        order = rng.permutation(len(frames.images))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            images, labels = frames.images[chosen].astype(np.float32), frames.labels[chosen].copy()
            for k in np.flatnonzero(rng.random(batch) < 0.5):
                images[k] = images[k, :, ::-1]
                labels[k, :, [1, 3]] = INPUT_WIDTH_PX - labels[k, :, [3, 1]]
            gain = rng.uniform(0.85, 1.15, (batch, 1, 1, 1)) * rng.uniform(0.95, 1.05, (batch, 1, 1, 3))
            images = np.clip(images * gain + rng.uniform(-8, 8, (batch, 1, 1, 1)), 0, 255)
            pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))
            yield pixels.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def train(
    model: network.CapDetector, batches: Iterator[tuple[Tensor, Tensor]], steps: int, rate: float
) -> network.CapDetector:
    """AdamW, one cycle of the learning rate; the running average of the weights is what comes back."""
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    corners, strides = network.cells(INPUT_WIDTH_PX, INPUT_HEIGHT_PX)
    model.train()
    started = time.monotonic()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * schedule(step, steps)
        images, labels = next(batches)
        total, parts = network.loss(model(images), labels, corners, strides)
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        blend(average, model, min(_AVERAGE, step / (step + 10)))
        if step % _REPORT_EVERY == 0 or step == steps - 1:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"step {step}: {shown}; {time.monotonic() - started:.0f} s", flush=True)
    return average


def schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short rise, then a cosine down to a fiftieth."""
    if step < _WARM_UP:
        return (step + 1) / _WARM_UP
    done = (step - _WARM_UP) / max(1, steps - _WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def blend(average: torch.nn.Module, model: torch.nn.Module, keep: float) -> None:
    """Move the average a little towards the model; whole numbers are copied."""
    for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - keep)
        else:
            mine.copy_(theirs)


def export(model: network.CapDetector, path: Path) -> None:
    """Write the detector as ONNX, normalisation folded into its convolutions."""
    model = model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(1, 3, INPUT_HEIGHT_PX, INPUT_WIDTH_PX)
    torch.onnx.export(
        model,
        (example,),
        str(path),
        input_names=["images"],
        output_names=["output"],
        opset_version=17,
        dynamo=False,
    )
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
