"""Real models of each task, packed and asked about real pictures, compared with what is known of the pictures and with the graph's own
outputs decoded here by other means. The folder is that of the assets; its manifest says how each model wants its pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import outrider
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Image

ASSETS = Path(os.environ.get("OUTRIDER_ASSETS") or Path(__file__).parents[3] / "shared" / "assets")
PICTURES = ASSETS / "images" / "coco_val_ccby"
PERSON = 1
ULTRAFACE, MOVENET = "face_person/ultraface_rfb_320.onnx", "pose/movenet_lightning_192_dequant.onnx"
WAKE_WORDS = "classification/vww_mobilenetv1_96.onnx"
EFFICIENTNET = "classification/efficientnet_lite0_224.onnx"
ROAD = "segmentation/road_segmentation_adas_0001.onnx"
PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

pytestmark = pytest.mark.skipif(not ASSETS.is_dir(), reason=f"no {ASSETS}; OUTRIDER_ASSETS names the folder")


def load(tmp_path: Path, file: str, golden: str, **options: Any) -> outrider.Model:
    """Packed with a golden image, which the package's own check then has to find again."""
    if not (ASSETS / file).is_file():
        pytest.skip(f"no {file} in the assets")
    wishes = PackOptions(golden=str(picture(golden)), **options)
    package = pack(ASSETS / file, tmp_path / "model.pkg", wishes, LoadOptions(cache_dir=tmp_path))
    assert package.golden["present"]
    return outrider.load(package.directory, cache_dir=tmp_path)


def picture(number: str) -> Path:
    (path,) = PICTURES.rglob(f"*{number}.jpg")
    return path


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    (path,) = PICTURES.glob("instances*.json")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def persons(truth: dict[str, Any]) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for image in truth["images"]:
        annotations = [
            a
            for a in truth["annotations"]
            if a["image_id"] == image["id"] and a["category_id"] == PERSON and not a["iscrowd"]
        ]
        yield picture(Path(image["file_name"]).stem), annotations


def raw(file: str, tensor: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The graph's own outputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(ASSETS / file), providers=["CPUExecutionProvider"])
    outputs: list[npt.NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: tensor})
    return outputs


def bgr(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)


def test_ultraface_finds_faces_on_persons_and_nowhere_else(tmp_path: Path, truth: dict[str, Any]) -> None:
    inside = total = with_face = 0
    with load(tmp_path, ULTRAFACE, "005001") as model:
        for path, annotations in persons(truth):
            result = model.predict(path)
            total += len(result)
            with_face += bool(len(result))
            for box in result.boxes:
                centre = (box[:2] + box[2:]) / 2
                inside += any(_holds(a["bbox"], centre) for a in annotations)
    assert total >= 20
    assert with_face >= 10
    assert inside / total >= 0.8


def _holds(xywh: list[float], point: npt.NDArray[Any]) -> bool:
    x, y, w, h = xywh
    return bool(x <= point[0] <= x + w and y <= point[1] <= y + h)


def test_movenet_puts_its_keypoints_on_the_person(tmp_path: Path, truth: dict[str, Any]) -> None:
    """On crops of large persons; what is seen must lie within the annotated outline, a little grown."""
    inside = total = asked = 0
    with load(tmp_path, MOVENET, "261888") as model:
        for path, annotations in persons(truth):
            image = bgr(path)
            for annotation in annotations:
                x, y, w, h = (round(v) for v in annotation["bbox"])
                if h < 150 or isinstance(annotation["segmentation"], dict):
                    continue
                left, top = max(0, x - w // 4), max(0, y - h // 8)
                crop = image[top : y + h + h // 8, left : x + w + w // 4]
                outline = _outline(annotation, image.shape[:2], grow_px=max(3, h // 25))
                result = model.predict(np.ascontiguousarray(crop))
                asked += 1
                for points in () if result.keypoints is None else result.keypoints:
                    seen = points[points[:, 2] > 0.4][:, :2].astype(int) + np.array([left, top])
                    total += len(seen)
                    inside += sum(
                        outline[min(b, len(outline) - 1), min(a, outline.shape[1] - 1)] for a, b in seen
                    )
    print(f"{inside} of {total} keypoints on {asked} persons lie on the person")
    assert asked >= 10
    assert total >= 4 * asked
    assert inside / total >= 0.85


def _outline(annotation: dict[str, Any], size_hw: tuple[int, ...], grow_px: int) -> npt.NDArray[np.bool_]:
    canvas = np.zeros(size_hw, np.uint8)
    rings = [np.round(np.reshape(ring, (-1, 2))).astype(np.int32) for ring in annotation["segmentation"]]
    cv2.fillPoly(canvas, rings, 1)
    return np.asarray(cv2.dilate(canvas, np.ones((2 * grow_px + 1,) * 2, np.uint8)) > 0)


def test_visual_wake_words_tells_whether_somebody_is_there(tmp_path: Path, truth: dict[str, Any]) -> None:
    right = 0
    labels = ["nobody", "person"]
    # The scaling is what packing assumes of a Keras graph.
    with load(tmp_path, WAKE_WORDS, "005001", labels=labels, exact="uint8") as model:
        assert model.spec.input.layout == "NHWC"
        for path, annotations in persons(truth):
            image = bgr(path)
            result = model.predict(image)
            small = cv2.cvtColor(cv2.resize(image, (96, 96)), cv2.COLOR_BGR2RGB)[None]
            (scores,) = raw(WAKE_WORDS, small.astype(np.float32) / 255)
            assert result.classes is not None
            np.testing.assert_allclose(result.classes, scores[0], atol=1e-4)
            share = sum(a["area"] for a in annotations) / image[..., 0].size
            right += result.top(1)[0][1] == labels[share > 0.005]
    print(f"visual wake words: {right} of {len(truth['images'])} right")
    assert right / len(truth["images"]) >= 0.6


@pytest.mark.parametrize(
    ("number", "class_id"),
    [("062554", 937), ("160012", 963), ("577539", 928), ("519208", 385), ("343937", 795), ("403353", 846)],
    ids=["broccoli", "pizza", "ice cream", "elephant", "ski", "table lamp"],
)
def test_efficientnet_names_what_is_in_the_picture(tmp_path: Path, number: str, class_id: int) -> None:
    options: dict[str, Any] = {"scale": 1.0, "mean": (127.0,) * 3, "std": (128.0,) * 3, "short_side": 256}
    with load(tmp_path, EFFICIENTNET, number, **options) as model:
        assert model.spec.input.batch is None
        top = model.predict(picture(number)).top(1)
    assert top[0][0] == class_id
    assert top[0][2] > 0.4


def test_road_segmentation_finds_the_road(tmp_path: Path) -> None:
    labels = ["background", "road", "curb", "marking"]
    with load(tmp_path, ROAD, "261888", labels=labels, colour="BGR", scale=1.0, **PLAIN) as model:
        for number, least, most in (
            ("184324", 0.15, 0.6),
            ("261888", 0.15, 0.6),
            ("423617", 0.15, 0.6),
            ("030213", 0, 0.02),
        ):
            image = bgr(picture(number))
            semantic = model.predict(image).semantic
            assert semantic is not None
            assert semantic.shape == image.shape[:2]
            assert least <= (semantic == 1).mean() <= most, number
            (scores,) = raw(ROAD, cv2.resize(image, (896, 512))[None].astype(np.float32))
            own = cv2.resize(
                scores[0].argmax(axis=2).astype(np.uint8),
                semantic.shape[::-1],
                interpolation=cv2.INTER_NEAREST,
            )
            assert (own == semantic).mean() > 0.999
