"""AP on COCO images, through the SDK, for every model that `expected_ap.json` of the assets lists.

Each entry names a file, a family and labels; `images` is a folder with `instances*.json` in COCO's form and a folder of
pictures. Nothing here knows particular models or images.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import outrider
from runtime.model import families
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions

LIVE_COST = 0.2
"""AP that bytes in the slot may cost, in points of a hundred."""
TOLERANCE = 0.3
"""Of AP and AP50, in points of a hundred, against independent decoders on other arithmetic."""

ASSETS = Path(os.environ.get("OUTRIDER_ASSETS") or Path(__file__).parents[3] / "shared" / "assets")
EXPECTED = ASSETS / "expected_ap.json"


def _entries() -> dict[str, dict[str, Any]]:
    if not EXPECTED.is_file():
        return {}
    models: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text(encoding="utf-8"))["models"]
    return models


ENTRIES = _entries()


@dataclass(frozen=True)
class Truth:
    """Annotations as pycocotools holds them, and where the pictures lie."""

    coco: Any
    folders: tuple[Path, ...]

    def picture(self, file_name: str) -> Path:
        found = (folder / file_name for folder in self.folders if (folder / file_name).is_file())
        return next(found)


@pytest.fixture(scope="module")
def truth() -> Truth:
    pycocotools = pytest.importorskip("pycocotools.coco")
    images = ASSETS / json.loads(EXPECTED.read_text(encoding="utf-8"))["images"]
    (annotations,) = sorted(images.glob("instances*.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = pycocotools.COCO(str(annotations))
    return Truth(coco, (images, *sorted(p for p in images.iterdir() if p.is_dir())))


@pytest.mark.skipif(not ENTRIES, reason=f"no {EXPECTED}; OUTRIDER_ASSETS names the folder")
@pytest.mark.parametrize("name", sorted(ENTRIES) or ["none"])
def test_average_precision_is_that_of_independent_decoders(name: str, truth: Truth, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    if entry["family"] not in families.names():
        pytest.skip(f"family {entry['family']!r} is not built yet")
    found = _average_precision(_pack(ASSETS / entry["file"], entry, tmp_path), truth, tmp_path)
    print(
        f"{name}: AP {found['AP']:.2f} (expected {entry['AP']}), AP50 {found['AP50']:.2f} ({entry['AP50']})"
    )
    assert {key: found[key] for key in ("AP", "AP50")} == {
        key: pytest.approx(entry[key], abs=TOLERANCE) for key in ("AP", "AP50")
    }


@pytest.mark.skipif(not ENTRIES, reason=f"no {EXPECTED}; OUTRIDER_ASSETS names the folder")
@pytest.mark.parametrize("name", sorted(ENTRIES) or ["none"])
def test_the_live_path_costs_next_to_nothing(name: str, truth: Truth, tmp_path: Path) -> None:
    """A device resizes bytes, half a grey level away from a resize of floats, which is the exact path here."""
    entry = ENTRIES[name]
    package = _pack(ASSETS / entry["file"], entry, tmp_path, exact="float")
    exact = _average_precision(package, truth, tmp_path)
    live = _average_precision(package, truth, tmp_path, exact=False)
    cost = {key: exact[key] - live[key] for key in ("AP", "AP50")}
    print(f"{name}: the live path costs {cost['AP']:+.2f} AP, {cost['AP50']:+.2f} AP50")
    assert cost["AP"] <= LIVE_COST


def _pack(onnx: Path, entry: dict[str, Any], tmp_path: Path, exact: str | None = None) -> Path:
    labels = entry["labels"]
    if isinstance(labels, str) and (ASSETS / labels).is_file():
        labels = str(ASSETS / labels)
    options = PackOptions(family=entry["family"], labels=labels, no_golden=True, exact=exact)
    return pack(onnx, tmp_path / "model.pkg", options, LoadOptions(cache_dir=tmp_path)).directory


def _average_precision(package: Path, truth: Truth, cache: Path, exact: bool = True) -> dict[str, float]:
    from pycocotools.cocoeval import COCOeval

    found = _detections(package, truth, cache, exact)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth.coco, truth.coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"AP": 100 * float(evaluation.stats[0]), "AP50": 100 * float(evaluation.stats[1])}


def _detections(package: Path, truth: Truth, cache: Path, exact: bool) -> list[dict[str, Any]]:
    """In COCO's result form; classes that the annotations do not know are left out."""
    categories = {entry["name"]: entry["id"] for entry in truth.coco.dataset["categories"]}
    found = []
    with outrider.load(package, exact=exact, evaluation=True, cache_dir=cache) as model:
        assert categories.keys() & set(model.labels), "labels and annotations share no name"
        for image in truth.coco.dataset["images"]:
            result = model.predict(truth.picture(image["file_name"]))
            rows = zip(result.class_names, result.scores.tolist(), result.boxes.tolist(), strict=True)
            found += [
                {"image_id": image["id"], "category_id": categories[name], "score": score, "bbox": _xywh(box)}
                for name, score, box in rows
                if name in categories
            ]
    return found


def _xywh(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
