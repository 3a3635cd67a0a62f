"""The grammar of selectors, and what they match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import Refused
from fleet.selector import EVERYTHING, Operator, Requirement, Selector, label_problems, parse
from wire.reasons import Reason

KEYS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,10}\Z")
VALUES = st.text(min_size=1, max_size=12).filter(str.isprintable)
LABELS = st.dictionaries(KEYS, VALUES, max_size=4)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    most = {Operator.EXISTS: 0, Operator.ABSENT: 0, Operator.IN: 3}.get(operator, 1)
    values = draw(st.sets(VALUES, min_size=min(most, 1), max_size=most))
    return Requirement(draw(KEYS), operator, tuple(sorted(values)))


SELECTORS = st.sets(requirements(), max_size=4).map(lambda found: Selector(tuple(sorted(found, key=str))))


@given(SELECTORS)
def test_selector_reads_back_from_its_own_words(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@given(SELECTORS, SELECTORS, LABELS)
def test_selectors_joined_by_a_comma_match_where_both_do(
    first: Selector, second: Selector, labels: dict[str, str]
) -> None:
    joined = ", ".join(filter(None, (str(first), str(second))))
    assert parse(joined).matches(labels) == (first.matches(labels) and second.matches(labels))


@given(KEYS, VALUES, LABELS)
def test_opposites_match_exactly_one_of_them(key: str, value: str, labels: dict[str, str]) -> None:
    for yes, no in ((Operator.EQUALS, Operator.DIFFERS), (Operator.EXISTS, Operator.ABSENT)):
        values = (value,) if yes is Operator.EQUALS else ()
        pair = [Selector((Requirement(key, operator, values),)) for operator in (yes, no)]
        assert sum(selector.matches(labels) for selector in pair) == 1


@given(st.text(max_size=60) | st.text(alphabet='ab=!,() "\\in', max_size=40))
def test_any_text_is_a_selector_or_refused_with_a_place(text: str) -> None:
    try:
        read = parse(text)
    except Refused as e:
        complaint = e
    else:
        assert parse(str(read)) == read
        return
    assert complaint.reason is Reason.SELECTOR_INVALID
    assert "at character" in str(complaint)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("site=a", {"site": "a"}, True),
        ("site = a", {"site": "b"}, False),
        ("site!=a", {}, True),
        ("site in (a, b),line", {"site": "b", "line": ""}, True),
        ("in in (in)", {"in": "in"}, True),
        ("!spare", {"spare": "x"}, False),
        ('name="a, b"', {"name": "a, b"}, True),
    ],
)
def test_what_matches(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse(text).matches(labels) is matches


def test_empty_selector_asks_for_nothing() -> None:
    assert parse(" ") == EVERYTHING
    assert EVERYTHING.everything
    assert not parse("a").everything


@pytest.mark.parametrize("text", ["a=", "a in ()", "a,", "=a", "a b", 'a="', "a in (b", "a" * 3000, "a=\0"])
def test_half_a_selector_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


def test_labels_that_no_selector_could_name_are_told_with_their_place() -> None:
    found = label_problems({"ok": "1", "white space": "1", "site": "", "line": "\n", "a": "x" * 200})
    assert [problem.path for problem in found] == ["labels", "labels.site", "labels.line", "labels.a"]
    assert label_problems({str(n): "1" for n in range(65)})[0].path == "labels"
