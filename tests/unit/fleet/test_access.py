"""Rights, slowed-down guessing, tags and cursors: pure, whatever comes in."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import etag
from fleet.access.grants import Grant, Rights, Role
from fleet.access.passwords import weakness
from fleet.access.throttle import FORGOTTEN_S, LONGEST_WAIT_S, Failures, after, scopes, wait_s
from fleet.api import paging
from fleet.errors import Overtaken, Refused
from fleet.selector import parse

SELECTORS = st.sampled_from(["", "site=a", "site=b", "site in (a, b)", "!site"]).map(parse)
GRANTS = st.builds(Grant, st.sampled_from(Role), SELECTORS)
RIGHTS = st.lists(GRANTS, max_size=4).map(tuple).map(Rights)
LABELS = st.sampled_from([{}, {"site": "a"}, {"site": "b"}, {"site": "c"}])


@given(RIGHTS, RIGHTS, LABELS)
def test_nobody_gets_more_within_a_bound_than_the_bound_or_than_it_had(
    own: Rights, bound: Rights, labels: dict[str, str]
) -> None:
    left = own.within(bound)
    assert (left.on(labels) or 0) <= min(own.on(labels) or 0, bound.on(labels) or 0)
    assert (left.everywhere or 0) <= min(own.everywhere or 0, bound.everywhere or 0)


@given(RIGHTS, GRANTS, LABELS)
def test_what_is_passed_on_was_there(rights: Rights, grant: Grant, labels: dict[str, str]) -> None:
    if rights.covers(grant) and grant.selector.matches(labels):
        assert (rights.on(labels) or 0) >= grant.role


@given(RIGHTS, LABELS)
def test_role_for_the_whole_fleet_holds_on_each_device(rights: Rights, labels: dict[str, str]) -> None:
    assert (rights.on(labels) or 0) >= (rights.everywhere or 0)
    assert (rights.somewhere or 0) >= (rights.on(labels) or 0)


@given(st.integers(0, 60), st.integers(0, 1_000_000).map(float))
def test_waits_grow_with_failures_and_end(count: int, at: float) -> None:
    waits = [wait_s(Failures(number, at), 5, at) for number in range(count + 1)]
    assert waits == sorted(waits)
    assert all(wait == 0 for wait in waits[:5])
    assert all(0 < wait <= LONGEST_WAIT_S for wait in waits[5:])
    assert wait_s(Failures(count, at), 5, at + FORGOTTEN_S) == 0
    assert after(Failures(count, at), at + FORGOTTEN_S + 1).count == 1
    assert after(Failures(count, at), at + 1).count == count + 1


def test_strangers_lock_nobody_out_by_a_handful_of_guesses() -> None:
    own, elsewhere = scopes("anna", "10.0.0.1"), scopes("anna", "10.0.0.2")
    shared = {scope.key for scope in own} & {scope.key for scope in elsewhere}
    assert [scope.free for scope in own if scope.key in shared] == [60]


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "my-anna-password", "x" * 300])
def test_weak_password_is_told_why(password: str) -> None:
    assert weakness(password, "anna")


def test_long_sentence_is_a_password() -> None:
    assert weakness("seven wooden horses", "anna") is None


@pytest.mark.parametrize(
    ("given_tag", "taken"),
    [(None, True), ("*", True), ('"a"', True), ('"x", "a"', True), ('W/"a"', False), ('"b"', False), ("a", False)],
)  # fmt: skip
def test_change_is_taken_where_the_tag_is_the_one_that_was_read(given_tag: str | None, taken: bool) -> None:
    if taken:
        etag.check(given_tag, '"a"')
    else:
        with pytest.raises(Overtaken):
            etag.check(given_tag, '"a"')


@given(st.text(max_size=40))
def test_any_header_is_a_tag_or_none(header: str) -> None:
    assert etag.unchanged(header, '"a"') in (True, False)


@given(st.sampled_from(["", 7, (0.0, ""), ("", 5), (0.0, 0)]), st.text(max_size=60))
def test_any_text_is_a_cursor_of_the_list_or_refused(start: object, text: str) -> None:
    for cursor in (text, base64.urlsafe_b64encode(text.encode()).decode()):
        try:
            found = paging.decode(cursor, start)
        except Refused:
            continue
        assert paging.decode(paging.encode(found), start) == found


@given(st.floats(0, 1e12), st.from_regex(r"\A[a-z0-9-]{0,36}\Z"))
def test_cursor_reads_back(at: float, name: str) -> None:
    assert paging.decode(paging.encode((at, name)), (0.0, "")) == (at, name)
