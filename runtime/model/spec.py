"""What a model package says about its model: input, decoding, labels. Pure values; `package.py` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal


class Task(str, Enum):
    DETECTION = "detection"
    INSTANCE_SEGMENTATION = "instance-segmentation"
    SEMANTIC_SEGMENTATION = "semantic-segmentation"
    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    KEYPOINTS = "keypoints"
    ORIENTED_DETECTION = "oriented-detection"
    TEXT = "text"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes the model's input tensor.

    The value of a pixel enters the network as `(value / scale - mean) / std`, value 0 to 255, mean and std by channel in the
    order of `colour`. `resize`: `letterbox` (aspect kept, padded with `pad`), `stretch`, or `centre-crop` (short side to
    `short_side` px, or to the input where that is 0, middle cut out). `anchor`: where the image lies within a letterbox; `rounding`: of the
    letterboxed image's sides. `exact`: the authors' own resize,
    `uint8` (cv2 bilinear on bytes), `float` (bilinear on floats, half-pixel, no antialias) or `pil` (antialiased).
    """

    name: str
    width: int
    height: int
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    colour: Literal["BGR", "RGB"] = "RGB"
    resize: Literal["letterbox", "stretch", "centre-crop"] = "letterbox"
    anchor: Literal["centre", "top-left"] = "centre"
    rounding: Literal["nearest", "down"] = "nearest"
    pad: int = 114
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exact: Literal["uint8", "float", "pil"] = "uint8"
    short_side: int = 0
    open_width: bool = False
    """The graph takes any width; `width` is the least that is fed."""
    batch: int | None = 1
    """The fixed batch size, or None where the graph takes any."""

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """The shape of one image's tensor, without the batch axis: what a slot holds as uint8."""
        return (3, self.height, self.width) if self.layout == "NCHW" else (self.height, self.width, 3)


@dataclass(frozen=True)
class DecodeSpec:
    """How outputs become a result. What a family needs besides is in `options`.

    `nms`: `class` (each class by itself), `agnostic` or `none`. `max_detections`: after everything else.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    nms: Literal["class", "agnostic", "none"] = "class"
    max_detections: int = 300
    class_offset: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GoldenSpec:
    """A picture in the package and what the model must find in it.

    `box_tolerance`: of the picture's longer side; `score_tolerance`: absolute. Both say what another engine or precision may
    differ from FP32 on a CPU.
    """

    image: str = "golden/image.png"
    expected: str = "golden/expected.json"
    box_tolerance: float = 0.005
    score_tolerance: float = 0.02


COCO_KEYPOINTS = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""The 17 points of a person, in the order of the COCO data set."""


@dataclass(frozen=True)
class Constraints:
    """What a device must have, `[constraints]` of `model.toml`, told before a byte of the weights is fetched; see `wire.manifest.Needs`."""

    memory_mib: int = 0
    engines: tuple[str, ...] = ()
    compute_capability: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """The content of `model.toml` that matters when the model runs."""

    name: str
    task: Task
    family: str
    input: InputSpec
    decode: DecodeSpec
    labels: tuple[str, ...] = ()
    onnx: str = "model.onnx"
    precision: str = "fp32"
    recognised: str = ""
    """Why the packer chose this family, in words."""
    external: tuple[str, ...] = ()
    """Files beside the graph that hold its weights, where it is too large for one."""
    parts: tuple[str, ...] = ()
    """Packages within the package, each a folder of its name, whose models work together with this one."""
    constraints: Constraints = Constraints()
    golden: GoldenSpec | None = None
    """None where the package was made without: its results cannot be checked."""

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of the K keypoints: the option `keypoint_names`, or COCO's 17; empty where nobody gave any."""
        named = self.decode.options.get("keypoint_names", ())
        if named:
            return tuple(map(str, named))
        return COCO_KEYPOINTS if self.decode.options.get("keypoints") == len(COCO_KEYPOINTS) else ()
