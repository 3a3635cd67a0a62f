"""Class names: the table of COCO, and labels as people give them. Owns no model.

Source of the names and category ids: the COCO 2017 annotation files (`categories`), https://cocodataset.org.
"""

from __future__ import annotations

from pathlib import Path

from runtime.errors import ModelRefused
from wire.problem import Problem
from wire.reasons import Reason

MAX_LABELS = 100_000
MAX_LABEL_CHARS = 200

_CATEGORIES = (
    "1:person 2:bicycle 3:car 4:motorcycle 5:airplane 6:bus 7:train 8:truck 9:boat 10:traffic_light "
    "11:fire_hydrant 13:stop_sign 14:parking_meter 15:bench 16:bird 17:cat 18:dog 19:horse 20:sheep 21:cow "
    "22:elephant 23:bear 24:zebra 25:giraffe 27:backpack 28:umbrella 31:handbag 32:tie 33:suitcase "
    "34:frisbee 35:skis 36:snowboard 37:sports_ball 38:kite 39:baseball_bat 40:baseball_glove "
    "41:skateboard 42:surfboard 43:tennis_racket 44:bottle 46:wine_glass 47:cup 48:fork 49:knife 50:spoon "
    "51:bowl 52:banana 53:apple 54:sandwich 55:orange 56:broccoli 57:carrot 58:hot_dog 59:pizza 60:donut "
    "61:cake 62:chair 63:couch 64:potted_plant 65:bed 67:dining_table 70:toilet 72:tv 73:laptop 74:mouse "
    "75:remote 76:keyboard 77:cell_phone 78:microwave 79:oven 80:toaster 81:sink 82:refrigerator 84:book "
    "85:clock 86:vase 87:scissors 88:teddy_bear 89:hair_drier 90:toothbrush"
)

_COCO: tuple[tuple[int, str], ...] = tuple(
    (int(number), name.replace("_", " "))
    for number, name in (entry.split(":") for entry in _CATEGORIES.split())
)

COCO80: tuple[str, ...] = tuple(name for _, name in _COCO)
"""The 80 names in order: what most detectors number 0 to 79."""

COCO91: tuple[str, ...] = tuple(dict(_COCO).get(slot, f"class_{slot}") for slot in range(91))
"""By COCO category id, 0 to 90; ids that no category has are called `class_<id>`."""

TABLES: dict[str, tuple[str, ...]] = {"coco80": COCO80, "coco91": COCO91}


def resolve(labels: str | Path | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Labels given as the name of a table (`coco80`, `coco91`), a text file with one name a line, or the names.

    :raises ModelRefused: no such table or file, or names that cannot be used
    """
    if isinstance(labels, (list, tuple)):
        return checked(tuple(labels), "labels")
    if (table := TABLES.get(str(labels).lower())) is not None:
        return table
    path = Path(labels)
    if not path.is_file():
        raise ModelRefused(
            Reason.MODEL_LABELS,
            f"labels {str(labels)!r}: neither a file nor one of {sorted(TABLES)}; give a text file with one name a line",
        )
    return read_file(path)


def read_file(path: Path) -> tuple[str, ...]:
    """The names of a text file, one a line, UTF-8; empty lines at the end are passed over.

    :raises ModelRefused: not text, empty names, too many
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ModelRefused(Reason.MODEL_LABELS, f"{path.name}: not a UTF-8 text file: {e}") from e
    return checked(tuple(line.strip() for line in text.rstrip().splitlines()), path.name)


def checked(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names themselves, when all of them can be used.

    :raises ModelRefused: with one problem for each kind of fault
    """
    problems = []
    if not names or len(names) > MAX_LABELS:
        problems.append(
            Problem(where, Reason.MODEL_LABELS, f"{len(names)} names", expected=f"1 to {MAX_LABELS}")
        )
    bad = [str(i + 1) for i, name in enumerate(names) if not 0 < len(str(name)) <= MAX_LABEL_CHARS]
    if bad:
        problems.append(
            Problem(
                where,
                Reason.MODEL_LABELS,
                f"line(s) {', '.join(bad[:8])} cannot be a name",
                expected=f"1 to {MAX_LABEL_CHARS} characters on every line",
            )
        )
    if problems:
        raise ModelRefused(Reason.MODEL_LABELS, "; ".join(map(str, problems)), problems)
    return tuple(str(name) for name in names)
