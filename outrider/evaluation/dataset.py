"""Pictures with what is to be found in them: COCO annotations, a folder for each class, or a mask for each picture.

Reads and checks; measures nothing. Everything wrong with a data set is told together.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from wire.problem import Problem, summary
from wire.reasons import Reason

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SHOWN = 5


@dataclass(frozen=True)
class Picture:
    """`id` is the data set's own, or the position. `label`: the class of the whole picture; `mask`: its file."""

    id: int
    path: Path
    label: str = ""
    mask: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """`classes`: names with the number of objects (pictures, for a classifier) of each, as far as the data set tells.

    `coco`: the annotation document, for a data set of that form.
    """

    kind: str
    pictures: tuple[Picture, ...]
    classes: dict[str, int]
    coco: dict[str, Any] = field(default_factory=dict)

    def first(self, count: int) -> Dataset:
        """The first pictures only; 0 leaves all."""
        if not count or count >= len(self.pictures):
            return self
        kept = self.pictures[:count]
        if self.kind == "coco":
            classes = _objects(self.coco, {picture.id for picture in kept})
            return Dataset(self.kind, kept, classes, self.coco)
        used = Counter(picture.label for picture in kept if picture.label)
        return Dataset(self.kind, kept, dict(used) if self.kind == "folders" else self.classes, self.coco)


def coco(images: Path, annotations: Path) -> Dataset:
    """Pictures of a folder (or one folder below it) with annotations in COCO's form.

    :raises Refused: DATASET_INVALID, with what is missing
    """
    document = _document(annotations)
    problems = _dangling(document, annotations.name)
    pictures: list[Picture] = []
    absent: list[str] = []
    folders = _folders(images)
    for entry in document["images"]:
        name = str(entry["file_name"])
        found = next((p for folder in folders if (p := folder / name).is_file()), None)
        if found is None:
            absent.append(name)
        else:
            pictures.append(Picture(int(entry["id"]), found))
    if absent:
        words = (
            f"{len(absent)} of {len(document['images'])} pictures are not there: {', '.join(absent[:_SHOWN])}"
        )
        problems.append(Problem(str(images), Reason.DATASET_INVALID, words, "", "correct --images"))
    if not document["images"]:
        problems.append(Problem(annotations.name, Reason.DATASET_INVALID, "names no pictures"))
    if problems:
        raise refusal(problems)
    return Dataset("coco", tuple(pictures), _objects(document, {p.id for p in pictures}), document)


def folders(root: Path) -> Dataset:
    """A folder for each class, its pictures inside at any depth.

    :raises Refused: DATASET_INVALID
    """
    if not root.is_dir():
        raise _invalid(f"{root}: no such folder")
    pictures: list[Picture] = []
    classes: dict[str, int] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        found = _pictures_of(folder)
        if found:
            classes[folder.name] = len(found)
            pictures += [Picture(len(pictures) + i, path, folder.name) for i, path in enumerate(found)]
    if not pictures:
        raise _invalid(
            f"{root}: no pictures in folders below it; expected a folder for each class, named like it"
        )
    return Dataset("folders", tuple(pictures), classes)


def masks(images: Path, mask_folder: Path) -> Dataset:
    """Pictures, each with a PNG of its name whose values are class ids.

    :raises Refused: DATASET_INVALID
    """
    for place in (images, mask_folder):
        if not place.is_dir():
            raise _invalid(f"{place}: no such folder")
    pictures: list[Picture] = []
    absent: list[str] = []
    for path in _pictures_of(images):
        mask = mask_folder / path.relative_to(images).with_suffix(".png")
        if mask.is_file():
            pictures.append(Picture(len(pictures), path, mask=mask))
        else:
            absent.append(path.name)
    if absent:
        words = (
            f"{len(absent)} pictures have no mask: {', '.join(absent[:_SHOWN])}; expected NAME.png for each"
        )
        raise _invalid(f"{mask_folder}: {words}")
    if not pictures:
        raise _invalid(f"{images}: no pictures in it; expected {', '.join(PICTURES)}")
    return Dataset("masks", tuple(pictures), {})


def unlabelled(images: Path) -> Dataset:
    """Pictures alone, to compare two models on.

    :raises Refused: DATASET_INVALID
    """
    found = _pictures_of(images) if images.is_dir() else []
    if not found:
        raise _invalid(f"{images}: no folder with pictures in it; expected {', '.join(PICTURES)}")
    return Dataset("pictures", tuple(Picture(i, path) for i, path in enumerate(found)), {})


def refusal(problems: list[Problem]) -> Refused:
    """One error with every problem of a data set."""
    return Refused(Reason.DATASET_INVALID, summary(problems), problems)


def _invalid(words: str) -> Refused:
    return Refused(Reason.DATASET_INVALID, words)


def _pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())


def _folders(images: Path) -> list[Path]:
    if not images.is_dir():
        raise _invalid(f"{images}: no such folder; --images names the folder with the pictures")
    return [images, *sorted(path for path in images.iterdir() if path.is_dir())]


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise _invalid(f"{path}: {e.strerror or e}; --annotations names a JSON file in COCO's form") from e
    except (ValueError, RecursionError) as e:
        raise _invalid(f"{path}: no JSON: {e}") from e
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not (isinstance(document, dict) and isinstance(document.get(key), list))
    ]
    if missing:
        raise _invalid(
            f"{path}: no list {' nor '.join(map(repr, missing))}; expected annotations in COCO's form"
        )
    wanted = {
        "images": ("id", "file_name"),
        "annotations": ("image_id", "category_id"),
        "categories": ("id", "name"),
    }
    problems = [
        Problem(f"{path.name}: {key}[{i}]", Reason.DATASET_INVALID, f"no {name!r}")
        for key, names in wanted.items()
        for i, entry in enumerate(document[key])
        for name in names
        if not isinstance(entry, dict) or name not in entry
    ]
    if problems:
        raise refusal(problems[:_SHOWN])
    checked: dict[str, Any] = document
    return checked


def _dangling(document: dict[str, Any], name: str) -> list[Problem]:
    """Annotations of pictures or categories that the document does not list."""
    images = {entry["id"] for entry in document["images"]}
    categories = {entry["id"] for entry in document["categories"]}
    lost = sum(a["image_id"] not in images for a in document["annotations"])
    strange = {a["category_id"] for a in document["annotations"]} - categories
    problems = []
    if lost:
        problems.append(
            Problem(name, Reason.DATASET_INVALID, f"{lost} annotations name a picture it does not list")
        )
    if strange:
        words = f"annotations name categories it does not list: {sorted(strange)[:_SHOWN]}"
        problems.append(Problem(name, Reason.DATASET_INVALID, words))
    return problems


def _objects(document: dict[str, Any], ids: set[int]) -> dict[str, int]:
    """Objects by class, of these pictures; classes without an object are not named."""
    counts = Counter(a["category_id"] for a in document["annotations"] if a["image_id"] in ids)
    return {str(c["name"]): counts[c["id"]] for c in document["categories"] if counts[c["id"]]}
