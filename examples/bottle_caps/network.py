"""A small anchor-free detector with the outputs of the family `yolox`. Needs PyTorch, as `train.py` does, and nothing else here does.

A residual backbone, one top-down path, a head for each of strides 8, 16 and 32. A row of the output is, for one cell: the
centre's offset from the cell's corner in cells, the logarithm of the size in cells, objectness, class scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a way past them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.body(x)
        return added


class CapDetector(nn.Module):
    """Takes (N, 3, H, W) float32, BGR 0 to 255, H and W multiples of 32; gives (N, cells, 5 + classes).

    While it trains, objectness and classes are logits; otherwise they are probabilities.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 3, 2), convolution(16, 32, 3, 2), convolution(32, 32))
        self.stage8 = nn.Sequential(convolution(32, 48, 3, 2), Residual(48))
        self.stage16 = nn.Sequential(convolution(48, 72, 3, 2), Residual(72), Residual(72))
        self.stage32 = convolution(72, 72, 3, 2)
        self.lateral = nn.ModuleList(convolution(c, 48, 1) for c in (48, 72, 72))
        self.head = nn.ModuleList(convolution(48, 48) for _ in STRIDES)
        self.boxes = nn.Conv2d(48, 4, 1)
        self.scores = nn.Conv2d(48, 1 + classes, 1)
        nn.init.constant_(self.scores.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        at8 = self.stage8(self.stem((x - 114.0) * (1 / 58.0)))
        at16 = self.stage16(at8)
        at32 = self.lateral[2](self.stage32(at16))
        at16 = self.lateral[1](at16) + functional.interpolate(at32, scale_factor=2.0, mode="nearest")
        at8 = self.lateral[0](at8) + functional.interpolate(at16, scale_factor=2.0, mode="nearest")
        return torch.cat([self._rows(i, level) for i, level in enumerate((at8, at16, at32))], dim=1)

    def _rows(self, index: int, level: Tensor) -> Tensor:
        """(N, cells, 5 + classes). Normalisation needs a head of its own for each level: their statistics differ."""
        features = self.head[index](level)
        scores = self.scores(features)
        if not self.training:
            scores = torch.sigmoid(scores)
        return torch.cat([self.boxes(features), scores], dim=1).flatten(2).transpose(1, 2)


def cells(width_px: int, height_px: int) -> tuple[Tensor, Tensor]:
    """Corners of the cells (A, 2) x y in cells and their strides (A, 1), in the order of the rows."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height_px // stride), torch.arange(width_px // stride), indexing="ij"
        )
        corners.append(torch.stack([x.flatten(), y.flatten()], dim=1).float())
        strides.append(torch.full((x.numel(), 1), float(stride)))
    return torch.cat(corners), torch.cat(strides)


def assign(labels: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Which cap each cell answers for: (N, A) int64, index of the label or -1.

    A cap belongs to the stride that suits its size, and there to the cells whose middle is near its own.
    labels: (N, M, 6) as in `dataset.Frames`.
    """
    middle = (corners + 0.5) * strides
    centre = (labels[..., 1:3] + labels[..., 3:5]) / 2
    size = (labels[..., 3:5] - labels[..., 1:3]).clamp(min=1)
    side = size.prod(dim=2).sqrt()
    wanted = torch.where(side < 26, 8.0, torch.where(side < 72, 16.0, 32.0))
    off = (middle[None, :, None] - centre[:, None]).abs()
    near = (off < 1.1 * strides[None, :, None]).all(dim=3) & (off < size[:, None] / 2).all(dim=3)
    fits = near & (strides[None] == wanted[:, None]) & (labels[:, None, :, 0] >= 0)
    distance = torch.where(fits, off.sum(dim=3), torch.inf)
    nearest = distance.argmin(dim=2)
    return torch.where(fits.any(dim=2), nearest, -1)


def boxes_of(rows: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """(…, 4) x1 y1 x2 y2 in input pixels of rows (…, 4+)."""
    centre = (rows[..., 0:2] + corners) * strides
    half = rows[..., 2:4].clamp(max=6).exp() * strides / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(K,) of two (K, 4). Source: Rezatofighi et al., 2019."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - overlap
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def loss(rows: Tensor, labels: Tensor, corners: Tensor, strides: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts. A cap half outside the picture weighs less in the class part."""
    owner = assign(labels, corners, strides)
    image, cell = (owner >= 0).nonzero(as_tuple=True)
    mine = labels[image, owner[image, cell]]
    count = max(len(cell), 1)
    objectness = functional.binary_cross_entropy_with_logits(
        rows[..., 4], (owner >= 0).float(), reduction="sum"
    )
    positive = rows[image, cell]
    one_hot = functional.one_hot(mine[:, 0].long(), rows.shape[2] - 5).float()
    classes = functional.binary_cross_entropy_with_logits(positive[:, 5:], one_hot, reduction="none")
    classes = (classes.sum(dim=1) * mine[:, 5] ** 2).sum()
    found = boxes_of(positive, corners[cell], strides[cell])
    boxes = (1 - generalised_iou(found, mine[:, 1:5])).sum()
    total = (objectness + classes + 3.0 * boxes) / count
    return total, {
        "objectness": objectness.item() / count,
        "classes": classes.item() / count,
        "boxes": boxes.item() / count,
    }
