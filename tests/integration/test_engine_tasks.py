"""Answers of every kind through the engine process: the same as in process, also where they are too large for a message."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.model import resultformat, wireformat
from runtime.model.attachment import AttachedEngine
from runtime.model.inprocess import InProcessEngine
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Image, Result
from tests.integration.engine_child import engine_child

WAIT_S = 30.0
ROAD, FACES, TEXT = ("sha256:" + letter * 64 for letter in "cde")


def picture(assets: Path, number: str) -> Image:
    (path,) = (assets / "images").rglob(f"*{number}.jpg")
    return np.asarray(cv2.imread(str(path)), np.uint8)


def packed(assets: Path, root: Path) -> dict[str, Path]:
    load = LoadOptions(threads=1, cache_dir=root)
    plain = PackOptions(no_golden=True)
    road = dataclasses.replace(
        plain, colour="BGR", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, labels=["background", "road", "curb", "marking"]
    )  # fmt: skip
    sources = {
        ROAD: (assets / "segmentation/road_segmentation_adas_0001.onnx", road),
        FACES: (assets / "pose/movenet_lightning_192_dequant.onnx", plain),
    }
    reader = find_spec("rapidocr_onnxruntime")
    if reader is not None and reader.origin is not None:
        models = Path(reader.origin).parent / "models"
        parts = {"recognition": str(models / "ch_PP-OCRv4_rec_infer.onnx")}
        sources[TEXT] = (
            models / "ch_PP-OCRv4_det_infer.onnx",
            dataclasses.replace(plain, size=(640, 640), parts=parts),
        )
    for source, _ in sources.values():
        if not source.is_file():
            pytest.skip(f"no {source}")
    return {
        digest: pack(source, root / f"{i}.pkg", options, load).directory
        for i, (digest, (source, options)) in enumerate(sources.items())
    }


def test_maps_keypoints_and_texts_come_through_as_they_were(assets: Path, tmp_path: Path) -> None:
    packages = packed(assets, tmp_path)
    image = picture(assets, "520707")
    with engine_child(tmp_path / "engine", packages):
        for digest, package in packages.items():
            engine = InProcessEngine(package, LoadOptions(threads=1, cache_dir=tmp_path))
            (expected,) = engine.submit([image]).wait(WAIT_S)
            engine.close()
            attached = AttachedEngine(str(tmp_path / "engine"), digest, slots=2)
            assert attached.connect(WAIT_S), attached.problem
            (found,) = attached.submit([image]).wait(WAIT_S)
            attached.close()
            assert isinstance(expected, Result)
            assert isinstance(found, Result), found
            _assert_same(found, expected)
            body_bytes = sum(map(len, resultformat.encode_result(expected, expected.labels)))
            assert (body_bytes > wireformat.INLINE_BYTES) == (digest == ROAD)
            if digest == TEXT:
                assert "VOLUNTEER" in (found.texts or ())


def _assert_same(found: Result, expected: Result) -> None:
    for field in dataclasses.fields(Result):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=field.name)
        else:
            assert one == other, field.name
