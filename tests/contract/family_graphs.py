"""Small graphs of random weights with the layers and outputs of the families that have no model at hand, as their exporters write them.

They say nothing about accuracy: they prove that a family's layers and its outputs pass through fusing, precision and engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from tests.contract.small_net import FLOAT, INT64, SIDE, UINT8, Net

CLASSES = 7
QUERIES = 40
NAMES = str([f"class {i}" for i in range(CLASSES)])

Build = Callable[[Path], Path]
GRAPHS: dict[str, tuple[str, Build]] = {}
"""Name → the family it must be recognised as (named where the graph alone cannot tell), and how it is made."""


def case(family: str) -> Callable[[Build], Build]:
    def keep(build: Build) -> Build:
        GRAPHS[build.__name__.replace("_", "-")] = (family, build)
        return build

    return keep


def cells(strides: Sequence[int] = (8, 16, 32)) -> int:
    return sum((SIDE // stride) ** 2 for stride in strides)


# --- YOLO -----------------------------------------------------------------------------------------------------------------


@case("yolo")
def yolov5_seg(path: Path) -> Path:
    """Anchors: three rows a cell, decoded in the graph."""
    net, columns = Net(), 5 + CLASSES + 8
    levels = []
    features = net.pyramid()
    for x, stride in zip(features, (8, 16, 32), strict=True):
        size = SIDE // stride
        split = net.op(
            "Reshape", net.conv(x, 16, 3 * columns, side=1, act=""), net.ints(-1, 3, columns, size, size)
        )
        values = net.op("Transpose", split, perm=[0, 1, 3, 4, 2])
        centre, area, scores, extras = net.ops("Split", 4, values, net.ints(2, 2, 1 + CLASSES, 8), axis=4)
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)[None, None]
        centre = net.op(
            "Mul",
            net.op("Add", net.op("Mul", net.op("Sigmoid", centre), net.const(2)), net.const(grid - 0.5)),
            net.const(stride),
        )
        area = net.op(
            "Mul",
            net.op("Pow", net.op("Mul", net.op("Sigmoid", area), net.const(2)), net.const(2)),
            net.const(np.full((1, 3, 1, 1, 2), 3 * stride)),
        )
        whole = net.op("Concat", centre, area, net.op("Sigmoid", scores), extras, axis=4)
        levels.append(net.op("Reshape", whole, net.ints(-1, 3 * size * size, columns)))
    net.op("Concat", *levels, axis=1, name="output0")
    prototypes(net, features[0], 8)
    shapes = [("output0", FLOAT, [1, 3 * cells(), columns]), ("output1", FLOAT, [1, 8, SIDE // 4, SIDE // 4])]
    return net.save(path, shapes, metadata={"task": "segment", "names": NAMES})


def prototypes(net: Net, feature: str, count: int) -> None:
    up = net.op(
        "ConvTranspose",
        net.conv(feature, 16, 16),
        net.drawn(16, 16, 2, 2),
        net.drawn(16),
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    net.op("Identity", net.conv(up, 16, count, side=1), name="output1")


def anchor_free(net: Net, extra: int) -> tuple[str, str, str]:
    """Boxes (N, 4, cells) x1 y1 x2 y2 in pixels, scores (N, C, cells), extras (N, E, cells), as YOLOv8's head makes them."""
    boxes, scores, extras = [], [], []
    for x in net.pyramid():
        boxes.append(net.op("Reshape", net.conv(x, 16, 64, side=1, act=""), net.ints(0, 64, -1)))
        scores.append(net.op("Reshape", net.conv(x, 16, CLASSES, side=1, act=""), net.ints(0, CLASSES, -1)))
        extras.append(
            net.op("Reshape", net.conv(x, 16, max(1, extra), side=1, act=""), net.ints(0, max(1, extra), -1))
        )
    joined = [net.op("Concat", *part, axis=2) for part in (boxes, scores, extras)]
    spread = net.op("Transpose", net.op("Reshape", joined[0], net.ints(0, 4, 16, cells())), perm=[0, 2, 1, 3])
    expected = net.op(
        "Conv",
        net.op("Softmax", spread, axis=1),
        net.const(np.arange(16).reshape(1, 16, 1, 1)),
        kernel_shape=[1, 1],
    )
    near, far = net.ops("Split", 2, net.op("Reshape", expected, net.ints(0, 4, -1)), net.ints(2, 2), axis=1)
    anchors, strides = [], []
    for stride in (8, 16, 32):
        size = SIDE // stride
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=0).reshape(2, -1) + 0.5
        anchors.append(grid)
        strides.append(np.full((1, size * size), stride))
    anchor = net.const(np.concatenate(anchors, axis=1)[None])
    corners = net.op("Concat", net.op("Sub", anchor, near), net.op("Add", anchor, far), axis=1)
    return (
        net.op("Mul", corners, net.const(np.concatenate(strides, axis=1)[None])),
        net.op("Sigmoid", joined[1]),
        joined[2],
    )


def best_rows(net: Net, extra: int, rows: int = 30) -> None:
    """The list at the end of YOLOv10 and YOLO26: the best cells, then the best of their classes."""
    boxes, scores, extras = (net.op("Transpose", part, perm=[0, 2, 1]) for part in anchor_free(net, extra))
    best = net.op("ReduceMax", scores, axes=[2], keepdims=0)
    _, index = net.ops("TopK", 2, best, net.ints(rows), axis=1)
    spread = net.op("Unsqueeze", index, net.ints(2))
    kept = [
        net.op("GatherElements", part, net.op("Tile", spread, net.ints(1, 1, width)), axis=1)
        for part, width in ((boxes, 4), (scores, CLASSES), (extras, extra))
        if width
    ]
    values, flat = net.ops("TopK", 2, net.op("Reshape", kept[1], net.ints(0, -1)), net.ints(rows), axis=1)
    row = net.op("Unsqueeze", net.op("Div", flat, net.ints(CLASSES)), net.ints(2))
    label = net.op("Cast", net.op("Mod", flat, net.ints(CLASSES)), to=FLOAT)
    parts = [net.op("GatherElements", kept[0], net.op("Tile", row, net.ints(1, 1, 4)), axis=1)]
    parts += [net.op("Unsqueeze", part, net.ints(2)) for part in (values, label)]
    if extra:
        parts.append(net.op("GatherElements", kept[2], net.op("Tile", row, net.ints(1, 1, extra)), axis=1))
    net.op("Concat", *parts, axis=2, name="output0")


@case("yolo-end2end")
def yolov10(path: Path) -> Path:
    net = Net()
    best_rows(net, 0)
    return net.save(path, [("output0", FLOAT, [1, 30, 6])], metadata={"names": NAMES, "task": "detect"})


@case("yolo-end2end")
def yolo26_pose(path: Path) -> Path:
    net = Net()
    best_rows(net, 12)
    about = {"names": NAMES, "task": "pose", "kpt_shape": "[4, 3]", "end2end": "True"}
    return net.save(path, [("output0", FLOAT, [1, 30, 18])], metadata=about)


@case("yolo-end2end")
def yolo26_obb(path: Path) -> Path:
    net = Net()
    best_rows(net, 1)
    return net.save(
        path, [("output0", FLOAT, [1, 30, 7])], metadata={"names": NAMES, "task": "obb", "end2end": "True"}
    )


@case("yolo")
def yolov8_any_batch(path: Path) -> Path:
    net = Net()
    boxes, scores, _ = anchor_free(net, 0)
    net.op("Concat", boxes, scores, axis=1, name="output0")
    shape: list[Any] = ["batch", 4 + CLASSES, cells()]
    return net.save(
        path,
        [("output0", FLOAT, shape)],
        image=("batch", 3, SIDE, SIDE),
        metadata={"names": NAMES, "task": "detect"},
    )


# --- transformers ---------------------------------------------------------------------------------------------------------


def decoded_queries(net: Net, width: int = 32) -> tuple[str, str]:
    """Queries (N, Q, width) after attention to themselves and sampling from the picture, and the features they sample from."""
    feature = net.pyramid(act="Relu", channels=width)[0]
    size = SIDE // 8
    memory = net.rows(feature, width)
    learned = net.const(net.random.normal(0, 1, (1, QUERIES, width)))
    still = net.op("Mul", net.op("ReduceMean", memory, axes=[1], keepdims=1), net.const(0.1))
    queries = net.op("Add", learned, still)
    queries = net.attention(queries, queries, width)
    places = net.op("Reshape", net.op("Tanh", net.linear(queries, width, 8)), net.ints(0, QUERIES, 4, 2))
    image = net.op("Reshape", feature, net.ints(0, width, size, size))
    sampled = net.op("GridSample", image, places, mode="bilinear", padding_mode="zeros", align_corners=0)
    mixed = net.op("Transpose", net.op("ReduceMean", sampled, axes=[3], keepdims=0), perm=[0, 2, 1])
    queries = net.norm(net.op("Add", queries, net.linear(mixed, width, width)), width)
    return net.norm(
        net.op("Add", queries, net.linear(net.op("Relu", net.linear(queries, width, 64)), 64, width)), width
    ), image


@case("rfdetr")
def rfdetr_seg(path: Path) -> Path:
    net = Net()
    queries, image = decoded_queries(net)
    net.op("Sigmoid", net.linear(queries, 32, 4), name="dets")
    net.op("Identity", net.linear(queries, 32, CLASSES + 1), name="labels")
    up = net.op(
        "Resize",
        image,
        "",
        net.const([1, 1, 2, 2]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    flat = net.op("Reshape", up, net.ints(0, 32, -1))
    net.op(
        "Reshape", net.op("MatMul", queries, flat), net.ints(0, QUERIES, SIDE // 4, SIDE // 4), name="masks"
    )
    shapes = [
        ("dets", FLOAT, [1, QUERIES, 4]),
        ("labels", FLOAT, [1, QUERIES, CLASSES + 1]),
        ("masks", FLOAT, [1, QUERIES, SIDE // 4, SIDE // 4]),
    ]
    return net.save(path, shapes)


@case("rtdetr")
def rtdetr_raw(path: Path) -> Path:
    net = Net()
    queries, _ = decoded_queries(net)
    net.op("Identity", net.linear(queries, 32, CLASSES), name="logits")
    net.op("Sigmoid", net.linear(queries, 32, 4), name="pred_boxes")
    return net.save(path, [("logits", FLOAT, [1, QUERIES, CLASSES]), ("pred_boxes", FLOAT, [1, QUERIES, 4])])


@case("rtdetr")
def dfine_finished(path: Path) -> Path:
    """The post-processing that the authors export with it, the picture's size as an input."""
    net, rows = Net(), 20
    queries, _ = decoded_queries(net)
    bins = net.op(
        "Softmax", net.op("Reshape", net.linear(queries, 32, 4 * 9), net.ints(0, QUERIES, 4, 9)), axis=-1
    )
    ltrb = net.op(
        "Reshape",
        net.op("MatMul", bins, net.const(np.linspace(0, 0.4, 9).reshape(9, 1))),
        net.ints(0, QUERIES, 4),
    )
    near, far = net.ops("Split", 2, ltrb, net.ints(2, 2), axis=2)
    centre = net.op("Sigmoid", net.linear(queries, 32, 2))
    boxes = net.op("Concat", net.op("Sub", centre, near), net.op("Add", centre, far), axis=2)
    size = net.op("Tile", net.op("Cast", "orig_target_sizes", to=FLOAT), net.ints(1, 2))
    boxes = net.op("Mul", boxes, net.op("Unsqueeze", size, net.ints(1)))
    scores = net.op("Reshape", net.op("Sigmoid", net.linear(queries, 32, CLASSES)), net.ints(0, -1))
    net.nodes.append(helper.make_node("TopK", [scores, net.ints(rows)], ["scores", "/index"], axis=1))
    net.op("Mod", "/index", net.ints(CLASSES), name="labels")
    row = net.op(
        "Tile",
        net.op("Unsqueeze", net.op("Div", "/index", net.ints(CLASSES)), net.ints(2)),
        net.ints(1, 1, 4),
    )
    net.op("GatherElements", boxes, row, axis=1, name="boxes")
    asked = helper.make_tensor_value_info("orig_target_sizes", INT64, [1, 2])
    shapes = [("labels", INT64, [1, rows]), ("boxes", FLOAT, [1, rows, 4]), ("scores", FLOAT, [1, rows])]
    return net.save(path, shapes, extra=[asked])


@case("rtdetr")
def rtdetr_joined(path: Path) -> Path:
    net = Net()
    queries, _ = decoded_queries(net)
    parts = [net.op("Sigmoid", net.linear(queries, 32, width)) for width in (4, CLASSES)]
    net.op("Concat", *parts, axis=2, name="output0")
    about = {"description": "Ultralytics RT-DETR-l model", "names": NAMES}
    return net.save(path, [("output0", FLOAT, [1, QUERIES, 4 + CLASSES])], metadata=about)


# --- heads of focal loss --------------------------------------------------------------------------------------------------


@case("picodet")
def picodet(path: Path) -> Path:
    net, shapes = Net(), []
    for x, stride in zip(net.pyramid(levels=4, act="HardSwish"), (8, 16, 32, 64), strict=True):
        count = (SIDE // stride) ** 2
        weight = net.op("HardSigmoid", net.conv(net.op("GlobalAveragePool", x), 16, 16, side=1, act=""))
        x = net.op("Mul", net.shuffled(x, 16, SIDE // stride), weight)
        net.op(
            "Identity",
            net.rows(net.op("Sigmoid", net.conv(x, 16, CLASSES, side=1, act="")), CLASSES),
            name=f"cls_{stride}",
        )
        net.op("Identity", net.rows(net.conv(x, 16, 32, side=1, act=""), 32), name=f"dis_{stride}")
        shapes += [(f"cls_{stride}", FLOAT, [1, count, CLASSES]), (f"dis_{stride}", FLOAT, [1, count, 32])]
    return net.save(path, shapes)


@case("nanodet-plus")
def nanodet_plus(path: Path) -> Path:
    net, levels = Net(), []
    for x, stride in zip(net.pyramid(levels=4, act="LeakyRelu"), (8, 16, 32, 64), strict=True):
        head = net.conv(net.shuffled(x, 16, SIDE // stride), 16, CLASSES + 32, side=1, act="")
        scores, boxes = net.ops("Split", 2, head, net.ints(CLASSES, 32), axis=1)
        joined = net.op("Concat", net.op("Sigmoid", scores), boxes, axis=1)
        levels.append(net.op("Reshape", joined, net.ints(0, CLASSES + 32, -1)))
    net.op("Transpose", net.op("Concat", *levels, axis=2), perm=[0, 2, 1], name="output")
    return net.save(path, [("output", FLOAT, [1, cells((8, 16, 32, 64)), CLASSES + 32])])


# --- faces and persons ----------------------------------------------------------------------------------------------------


@case("yunet")
def yunet(path: Path) -> Path:
    net, shapes = Net(), []
    for x, stride in zip(net.pyramid(act="Relu"), (8, 16, 32), strict=True):
        for part, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            made = net.rows(
                net.conv(net.conv(x, 16, columns, side=1, act=""), columns, columns, groups=columns, act=""),
                columns,
            )
            net.op("Sigmoid" if columns == 1 else "Identity", made, name=f"{part}_{stride}")
            shapes.append((f"{part}_{stride}", FLOAT, [1, (SIDE // stride) ** 2, columns]))
    return net.save(path, shapes)


@case("yunet")
def yunet_priors(path: Path) -> Path:
    net, parts = Net(), {"loc": (14, []), "conf": (2, []), "iou": (1, [])}
    for x, count in zip(net.pyramid(levels=4, act="Relu"), (3, 2, 2, 3), strict=True):
        for width, levels in parts.values():
            made = net.op("Transpose", net.conv(x, 16, count * width, act=""), perm=[0, 2, 3, 1])
            levels.append(net.op("Reshape", made, net.ints(0, -1, width)))
    rows = sum(count * (SIDE // stride) ** 2 for count, stride in ((3, 8), (2, 16), (2, 32), (3, 64)))
    for name, (_, levels) in parts.items():
        joined = net.op("Concat", *levels, axis=1)
        net.op("Softmax", joined, axis=-1, name=name) if name == "conf" else net.op(
            "Identity", joined, name=name
        )
    return net.save(path, [(name, FLOAT, [1, rows, width]) for name, (width, _) in parts.items()])


@case("movenet")
def movenet_several(path: Path) -> Path:
    net = Net()
    x = net.pyramid(net.op("Transpose", net.op("Cast", "images", to=FLOAT), perm=[0, 3, 1, 2]), act="Relu")[0]
    flat = net.op("Reshape", net.op("Sigmoid", net.conv(x, 16, 56, side=1, act="")), net.ints(0, 56, -1))
    values, index = net.ops("TopK", 2, net.op("ReduceMax", flat, axes=[1], keepdims=0), net.ints(6), axis=1)
    spread = net.op("Tile", net.op("Unsqueeze", index, net.ints(1)), net.ints(1, 56, 1))
    rows = net.op("Transpose", net.op("GatherElements", flat, spread, axis=2), perm=[0, 2, 1])
    net.op("Mul", rows, net.op("Unsqueeze", values, net.ints(2)), name="output_0")
    return net.save(path, [("output_0", FLOAT, [1, 6, 56])], image=(1, SIDE, SIDE, 3), dtype=UINT8)


# --- the whole picture ----------------------------------------------------------------------------------------------------


@case("classifier")
def multi_label(path: Path) -> Path:
    net = Net()
    x = net.pyramid(act="HardSwish")[2]
    flat = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.op("Sigmoid", net.op("Gemm", flat, net.drawn(16, CLASSES), net.drawn(CLASSES)), name="scores")
    return net.save(path, [("scores", FLOAT, ["batch", CLASSES])], image=("batch", 3, SIDE, SIDE))


@case("embedding")
def embedding(path: Path) -> Path:
    """Re-identification: the vector is brought to length 1 in the graph."""
    net = Net()
    x = net.pyramid(act="LeakyRelu")[2]
    flat = net.op("Flatten", net.op("GlobalAveragePool", x))
    vector = net.op("Gemm", flat, net.drawn(16, 64), net.drawn(64))
    net.op(
        "Div",
        vector,
        net.op("Add", net.op("ReduceL2", vector, axes=[1], keepdims=1), net.const(1e-9)),
        name="embedding",
    )
    return net.save(path, [("embedding", FLOAT, [1, 64])])


@case("segmentation")
def segmentation_scores(path: Path) -> Path:
    net = Net()
    x = net.conv(net.pyramid(act="Relu")[0], 16, CLASSES, side=1, act="")
    net.op(
        "Resize",
        x,
        "",
        net.const([1, 1, 8, 8]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
        name="out",
    )
    return net.save(path, [("out", FLOAT, [1, CLASSES, SIDE, SIDE])])


@case("segmentation")
def segmentation_map(path: Path) -> Path:
    net = Net()
    x = net.conv(net.pyramid(act="Relu")[0], 16, CLASSES, side=1, act="")
    up = net.op(
        "Resize", x, "", net.const([1, 1, 8, 8]), mode="linear", coordinate_transformation_mode="half_pixel"
    )
    net.op("ArgMax", up, axis=1, keepdims=0, name="out")
    return net.save(path, [("out", INT64, [1, SIDE, SIDE])])


# --- text -----------------------------------------------------------------------------------------------------------------


@case("db")
def db(path: Path) -> Path:
    """The binarisation head: two transposed convolutions and a sigmoid."""
    net = Net()
    x = net.pyramid(act="HardSwish")[0]
    x = net.op(
        "Resize",
        x,
        "",
        net.const([1, 1, 2, 2]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    x = net.conv(x, 16, 16)
    x = net.op(
        "Relu",
        net.op(
            "ConvTranspose", x, net.drawn(16, 16, 2, 2), net.drawn(16), kernel_shape=[2, 2], strides=[2, 2]
        ),
    )
    x = net.op("ConvTranspose", x, net.drawn(16, 1, 2, 2), net.drawn(1), kernel_shape=[2, 2], strides=[2, 2])
    net.op("Sigmoid", x, name="sigmoid_0.tmp_0")
    return net.save(path, [("sigmoid_0.tmp_0", FLOAT, [1, 1, SIDE, SIDE])])


@case("ctc")
def ctc(path: Path) -> Path:
    """A reader of lines 48 pixels high: convolutions, attention along the line, a softmax over characters."""
    net, width, characters = Net(), 16, "ABCDEFGHIJKL"
    x = "images"
    for inner, outer, stride in ((3, 8, 2), (8, 8, 2), (8, width, 2)):
        x = net.conv(x, inner, outer, stride=stride, act="HardSwish")
    x = net.op("AveragePool", x, kernel_shape=[6, 1], strides=[6, 1])
    line = net.rows(x, width)
    line = net.attention(line, line, width)
    net.op("Softmax", net.linear(line, width, len(characters) + 2), axis=-1, name="softmax_11.tmp_0")
    steps = 160 // 8
    about = {"character": "\n".join(characters)}
    return net.save(
        path,
        [("softmax_11.tmp_0", FLOAT, [1, steps, len(characters) + 2])],
        image=(1, 3, 48, 160),
        metadata=about,
    )


@case("classifier")
def text_direction(path: Path) -> Path:
    net = Net()
    x = "images"
    for inner, outer in ((3, 8), (8, 16)):
        x = net.conv(x, inner, outer, stride=2, act="HardSwish")
    weight = net.op("HardSigmoid", net.conv(net.op("GlobalAveragePool", x), 16, 16, side=1, act=""))
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.op("Mul", x, weight)))
    net.op(
        "Softmax",
        net.op("Gemm", flat, net.drawn(16, 2), net.drawn(2)),
        axis=1,
        name="save_infer_model/scale_0.tmp_1",
    )
    return net.save(path, [("save_infer_model/scale_0.tmp_1", FLOAT, [1, 2])], image=(1, 3, 48, 192))
