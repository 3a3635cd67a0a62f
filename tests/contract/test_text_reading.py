"""Texts on real pictures, with the models of PP-OCRv4 from the package rapidocr-onnxruntime, compared with that package's own code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

import outrider
from outrider.sdk import read_image
from runtime.errors import ModelRefused
from runtime.model import families
from runtime.model.families.family import Port
from runtime.model.pack import Packed, PackOptions, pack
from runtime.model.preprocess import BytePreprocessor, normalise
from runtime.model.reader import cut
from runtime.model.session import LoadOptions
from runtime.results import Image, Result

ASSETS = Path(os.environ.get("OUTRIDER_ASSETS") or Path(__file__).parents[3] / "shared" / "assets")
SIGNS = ("520707", "475678", "553664", "423617", "184324")
"""Pictures with signs: the back of a police volunteer, a hotel's notice, a title, a bus, a café."""
_found = find_spec("rapidocr_onnxruntime")
MODELS = Path(_found.origin).parent / "models" if _found and _found.origin else None

pytestmark = [
    pytest.mark.skipif(MODELS is None, reason="rapidocr-onnxruntime is not installed"),
    pytest.mark.skipif(not ASSETS.is_dir(), reason=f"no {ASSETS}; OUTRIDER_ASSETS names the folder"),
    pytest.mark.filterwarnings("ignore"),  # the authors' package warns of its own
]


def picture(number: str) -> Path:
    (path,) = (ASSETS / "images").rglob(f"*{number}.jpg")
    return path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    assert MODELS is not None
    folder = tmp_path_factory.mktemp("text")
    parts = {
        "recognition": str(MODELS / "ch_PP-OCRv4_rec_infer.onnx"),
        "direction": str(MODELS / "ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    }
    options = PackOptions(size=(960, 960), golden=str(picture("520707")), parts=parts)
    return pack(
        MODELS / "ch_PP-OCRv4_det_infer.onnx", folder / "text.pkg", options, LoadOptions(cache_dir=folder)
    )


@pytest.fixture(scope="module")
def model(packed: Packed) -> Iterator[outrider.Model]:
    with outrider.load(packed.directory, cache_dir=packed.directory.parent) as loaded:
        yield loaded


def words(result: Any) -> str:
    return " ".join(result.texts)


def test_the_package_holds_its_parts_and_promises_the_texts(packed: Packed) -> None:
    assert packed.spec.family == "db"
    assert packed.spec.parts == ("direction", "recognition")
    assert packed.golden == {"present": True, "detections": 2, "worst_box": 0.0, "worst_score": 0.0} | {
        key: pytest.approx(packed.golden[key], abs=1e-3) for key in ("worst_box", "worst_score")
    }
    assert packed.golden["worst_box"] < 1e-3


def test_real_signs_are_read(model: outrider.Model) -> None:
    assert "VOLUNTEER" in words(model.predict(picture("520707")))
    assert "Learn" in words(model.predict(picture("553664")))
    assert "GUDULE" in words(model.predict(picture("184324")))
    assert {"160", "180"} <= set(model.predict(picture("423617")).texts or ())
    assert "hotel" in words(model.predict(picture("475678")))


def test_a_device_reads_the_same_signs(packed: Packed) -> None:
    with outrider.load(packed.directory, exact=False, cache_dir=packed.directory.parent) as live:
        result = live.predict(picture("520707"))
        assert result.texts == ("POLICE", "VOLUNTEER")
        assert result.oriented is not None
        assert (np.abs(result.oriented[:, 4]) < 0.2).all()
        assert (result.boxes[:, 2] <= 640).all()
        assert "GUDULE" in words(live.predict(picture("184324")))


def plate(degrees: float) -> Image:
    """A rendered plate, turned: what it says is known exactly."""
    canvas = np.full((480, 640, 3), 200, np.uint8)
    cv2.rectangle(canvas, (90, 180), (550, 300), (90, 40, 20), -1)
    cv2.putText(canvas, "NO PARKING 24H", (110, 255), cv2.FONT_HERSHEY_DUPLEX, 1.6, (255, 255, 255), 3)
    turn = cv2.getRotationMatrix2D((320, 240), degrees, 1)
    return np.asarray(cv2.warpAffine(canvas, turn, (640, 480), borderValue=(200, 200, 200)), np.uint8)


@pytest.mark.parametrize("degrees", [10, 180])
def test_a_turned_plate_is_read_to_the_letter_and_its_line_points_along_the_writing(
    model: outrider.Model, degrees: float
) -> None:
    result = model.predict(plate(degrees))
    assert words(result).replace(" ", "") == "NOPARKING24H"
    assert result.oriented is not None
    assert abs((np.degrees(result.oriented[0, 4]) + degrees + 180) % 360 - 180) < 2


def test_a_picture_without_text_is_an_empty_result(model: outrider.Model) -> None:
    result = model.predict(np.full((300, 400, 3), 90, np.uint8))
    assert len(result) == 0
    assert result.texts == ()


@pytest.mark.parametrize("number", SIGNS)
def test_lines_are_where_the_authors_own_code_finds_them(packed: Packed, number: str) -> None:
    """On one map. Theirs rounds to whole pixels, grows with round corners and measures again, which turns a line by a degree or so."""
    from rapidocr_onnxruntime.ch_ppocr_det.utils import DBPostProcess

    assert MODELS is not None
    image = read_image(picture(number))
    spec = packed.spec
    tensor = np.empty(spec.input.tensor_shape, np.uint8)
    geometry = BytePreprocessor(spec.input).into(image, tensor)
    session = onnxruntime.InferenceSession(str(MODELS / "ch_PP-OCRv4_det_infer.onnx"))
    (values,) = session.run(None, {"x": normalise(tensor, spec.input)[None]})
    authors = DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True)
    theirs, their_scores = authors(values, (spec.input.height, spec.input.width))
    port = Port("map", values.shape)
    (found,) = families.get("db").decoder([port], spec)([values], [geometry])
    assert isinstance(found, Result)
    assert found.corners is not None
    corners = found.corners * [geometry.gain_x, geometry.gain_y]
    assert len(found) == len(theirs)
    assert sorted(found.scores.tolist()) == pytest.approx(sorted(their_scores), abs=1e-5)
    for line in np.asarray(theirs, np.float32):
        assert max(overlap(line, np.asarray(mine, np.float32)) for mine in corners) >= 0.85


def overlap(one: Any, other: Any) -> float:
    """Intersection over union of two quadrangles (4, 2)."""
    common, _ = cv2.intersectConvexConvex(one, other)
    return float(common / (cv2.contourArea(one) + cv2.contourArea(other) - common))


def test_lines_are_read_as_the_authors_own_code_reads_them(model: outrider.Model) -> None:
    from rapidocr_onnxruntime import RapidOCR

    authors = RapidOCR()
    for number in SIGNS:
        image = read_image(picture(number))
        result = model.predict(image)
        assert result.corners is not None
        lines: list[Image] = [line for line in (cut(image, c) for c in result.corners) if line is not None]
        upright, _, _ = authors.text_cls(lines)
        for line, text, score in zip(upright, result.texts or (), result.scores, strict=True):
            ((their_text, their_score),), _ = authors.text_rec([line])
            close = abs(their_score - score) < 0.2  # padding depends on which lines were read together
            assert (text == their_text) or (score < 0.9 and close), (number, text, their_text)


def test_a_part_that_is_none_is_refused(tmp_path: Path) -> None:
    assert MODELS is not None
    detector = MODELS / "ch_PP-OCRv4_det_infer.onnx"
    wrong = PackOptions(size=(320, 320), no_golden=True, parts={"recogniser": str(detector)})
    with pytest.raises(ModelRefused, match="expected one of recognition, direction"):
        pack(detector, tmp_path / "m", wrong, LoadOptions(cache_dir=tmp_path))
    direction = str(MODELS / "ch_ppocr_mobile_v2.0_cls_infer.onnx")
    swapped = PackOptions(size=(320, 320), no_golden=True, parts={"recognition": direction})
    with pytest.raises(ModelRefused, match="ctc"):
        pack(detector, tmp_path / "m", swapped, LoadOptions(cache_dir=tmp_path))
    assert not list(tmp_path.glob("m*"))
