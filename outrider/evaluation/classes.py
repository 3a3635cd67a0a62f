"""Which class of the data set is which class of the model. By name; what does not match is told with the nearest name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.errors import Refused
from wire.problem import Problem, nearest, summary
from wire.reasons import Reason

SHOWN = 12
"""So many problems are told singly, the rest as a number."""


@dataclass(frozen=True)
class ClassMap:
    """`ids`: model class id by the data set's name. `left_out`: names of the data set that the model has no class for."""

    ids: dict[str, int]
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> dict[int, str]:
        """The data set's name by model class id."""
        return {class_id: name for name, class_id in self.ids.items()}


def match(
    wanted: Sequence[str], labels: Sequence[str], given: Mapping[str, str], *, shared_only: bool = False
) -> ClassMap:
    """Find a class of the model for each class of the data set.

    Names are equal where they differ in case, spaces, hyphens and underscores only. `given` (data set name → model name)
    comes first. `shared_only` leaves out what has no partner, instead of refusing.

    :raises Refused: DATASET_INVALID, with every name that has no partner
    """
    if not labels:
        raise Refused(
            Reason.DATASET_INVALID,
            "the package has no class names to compare with the data set's: pack it with --labels FILE",
        )
    known = {_key(name): class_id for class_id, name in reversed(list(enumerate(labels)))}
    problems = _unknown_given(wanted, labels, given)
    ids: dict[str, int] = {}
    left_out: list[str] = []
    for name in wanted:
        class_id = known.get(_key(given.get(name, name)))
        if class_id is not None:
            ids[name] = class_id
        elif shared_only:
            left_out.append(name)
        elif name not in given:
            problems.append(_no_partner(name, labels))
    problems += _taken_twice(ids, labels)
    if not problems and not ids:
        problems.append(
            Problem(
                "classes", Reason.DATASET_INVALID, "data set and model share no class name", "", "use --map"
            )
        )
    if problems:
        raise _refusal(problems)
    return ClassMap(ids, tuple(left_out))


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """The values of `--map DATASET=MODEL`.

    :raises Refused: one has no `=`
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, label = text.partition("=")
        if not (name and equals and label):
            raise Refused(
                Reason.DATASET_INVALID,
                f"--map {text!r}: expected DATASET=MODEL, for example motorbike=motorcycle",
            )
        found[name] = label
    return found


def _key(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _unknown_given(wanted: Sequence[str], labels: Sequence[str], given: Mapping[str, str]) -> list[Problem]:
    keys = {_key(label) for label in labels}
    problems = []
    for name, label in given.items():
        path = f"--map {name}={label}"
        if name not in wanted:
            problems.append(
                Problem(
                    path,
                    Reason.DATASET_INVALID,
                    f"the data set has no class {name!r}",
                    "",
                    nearest(name, wanted),
                )
            )
        if _key(label) not in keys:
            problems.append(
                Problem(
                    path,
                    Reason.DATASET_INVALID,
                    f"the model has no class {label!r}",
                    "",
                    nearest(label, labels),
                )
            )
    return problems


def _no_partner(name: str, labels: Sequence[str]) -> Problem:
    return Problem(
        f"class {name!r}",
        Reason.DATASET_INVALID,
        "the model has no class of this name",
        "",
        nearest(name, labels),
    )


def _taken_twice(ids: Mapping[str, int], labels: Sequence[str]) -> list[Problem]:
    by_id: dict[int, list[str]] = {}
    for name, class_id in ids.items():
        by_id.setdefault(class_id, []).append(name)
    return [
        Problem(
            f"class {labels[class_id]!r}",
            Reason.DATASET_INVALID,
            f"stands for {' and '.join(map(repr, names))} at once",
        )
        for class_id, names in by_id.items()
        if len(names) > 1
    ]


def _refusal(problems: list[Problem]) -> Refused:
    rest = f"\n… and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    words = f"the classes of data set and model do not match:\n{summary(problems[:SHOWN])}{rest}"
    remedy = "\nname partners with --map DATASET=MODEL, or measure what both know with --shared-only"
    return Refused(Reason.DATASET_INVALID, words + remedy, problems)
