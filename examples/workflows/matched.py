"""Small classifiers whose weights are written by hand: nothing is trained, the arithmetic is in the graph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.model.pack import PackOptions, pack

DIGIT_WH = (24, 36)
DIGITS = tuple("0123456789")
WEIGHT = 12.0
"""How sharply the best template wins."""


def draw_digit(digit: str, wh: tuple[int, int] = DIGIT_WH) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A dark digit on a light wheel, (H, W) uint8."""
    width, height = wh
    big = np.full((height * 4, width * 4), 225, np.uint8)
    scale = width * 4 / 24.0
    (text_w, text_h), _ = cv2.getTextSize(digit, cv2.FONT_HERSHEY_SIMPLEX, scale, round(3 * scale))
    at = ((width * 4 - text_w) // 2, (height * 4 + text_h) // 2)
    cv2.putText(big, digit, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 40, round(3 * scale), cv2.LINE_AA)
    return np.asarray(cv2.resize(big, wh, interpolation=cv2.INTER_AREA), np.uint8)


def digit_graph() -> onnx.ModelProto:
    """Cosine between the picture and each of ten templates, mean taken off both, through a softmax."""
    width, height = DIGIT_WH
    pixels = width * height
    templates = np.stack([draw_digit(d).astype(np.float32).ravel() for d in DIGITS], axis=1)
    templates -= templates.mean(axis=0)
    templates /= np.linalg.norm(templates, axis=0)
    constants = {
        "flat": np.array([-1, pixels], np.int64),
        "templates": templates,
        "weight": np.array(WEIGHT, np.float32),
        "axis": np.array([1], np.int64),
        "least": np.array(1e-6, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images", "axis"], ["grey"], keepdims=0),
        helper.make_node("Reshape", ["grey", "flat"], ["row"]),
        helper.make_node("ReduceMean", ["row", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["row", "mean"], ["centred"]),
        helper.make_node("ReduceL2", ["centred", "axis"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["safe"]),
        helper.make_node("Div", ["centred", "safe"], ["unit"]),
        helper.make_node("MatMul", ["unit", "templates"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    return _model(nodes, constants, DIGIT_WH, len(DIGITS))


VEST_LABELS = ("no_vest", "vest")
VEST_WH = (48, 96)
VEST_SHARE = 0.06
"""So much of a person's box must be of the vest's colour."""


def vest_graph() -> onnx.ModelProto:
    """The share of pixels that are bright green-yellow: G and R high, B low (BGR, 0 to 1), against a threshold."""
    # green - blue > 0.4 and green > 0.55, each as a steep sigmoid.
    kernel = np.array([[-1.0, 1.0, 0.0], [0.0, 1.0, 0.0]], np.float32).reshape(2, 3, 1, 1)
    constants = {
        "kernel": kernel * 40.0,
        "bias": np.array([-0.4, -0.55], np.float32) * 40.0,
        "axes": np.array([2, 3], np.int64),
        "share": np.array(VEST_SHARE, np.float32),
        "steep": np.array(100.0, np.float32),
        "signs": np.array([[-1.0, 1.0]], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["both"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["both"], ["soft"]),
        helper.make_node("ReduceMin", ["soft", "one"], ["is_vest"], keepdims=1),
        helper.make_node("ReduceMean", ["is_vest", "axes"], ["found4"], keepdims=0),
        helper.make_node("Sub", ["found4", "share"], ["over"]),
        helper.make_node("Mul", ["over", "steep"], ["sure"]),
        helper.make_node("MatMul", ["sure", "signs"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    constants["one"] = np.array([1], np.int64)
    return _model(nodes, constants, VEST_WH, len(VEST_LABELS))


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], wh: tuple[int, int], classes: int
) -> onnx.ModelProto:
    shape = ["N", 3, wh[1], wh[0]]
    graph = helper.make_graph(
        nodes,
        "matched",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _package(model: onnx.ModelProto, name: str, labels: tuple[str, ...], folder: Path) -> Path:
    source, target = folder / f"{name}.onnx", folder / name
    if not target.is_dir():
        onnx.save(model, source)
        options = PackOptions(
            name=name, family="classifier", labels=list(labels), no_golden=True, colour="BGR", resize="stretch",
            scale=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
        )  # fmt: skip
        pack(source, target, options)
    return target


def digits(folder: Path) -> Path:
    """The package of the digits' classifier, made where it is not there."""
    return _package(digit_graph(), "digits", DIGITS, folder)


def vests(folder: Path) -> Path:
    """The package of the vests' classifier."""
    return _package(vest_graph(), "vests", VEST_LABELS, folder)
