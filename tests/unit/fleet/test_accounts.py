"""Passwords and topic rules of the broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import accounts
from fleet.accounts import CONTROL_USER, Action, allowed
from wire.names import FleetId, is_name

LAB = FleetId("lab")


def test_hash_is_the_one_mosquitto_passwd_makes() -> None:
    # made by: mosquitto_passwd 2.0.11 -b FILE device correct-horse
    hashed = "$7$101$n6CDjfLVg9j8E6UX$lEU2EeA4LeFPgHc38yZykQNeDYfPqJVzw32k44nGcIjfCeW8eJf00sZmoc0gwFFh6ENrn2SQjY6tkc7nU/0zMA=="
    assert accounts.password_fits("correct-horse", hashed)
    assert not accounts.password_fits("correct-horsf", hashed)


def test_unreadable_hash_fits_nothing() -> None:
    for text in ("", "$7$", "$6$101$AA==$AA==", "$7$x$AA==$AA==", "$7$101$?$?"):
        assert not accounts.password_fits("", text)


@given(st.text(min_size=1, max_size=40), st.binary(min_size=12, max_size=12))
def test_password_fits_its_own_hash(password: str, salt: bytes) -> None:
    try:
        password.encode()
    except UnicodeEncodeError:
        return
    assert accounts.password_fits(password, accounts.password_hash(password, salt))


def test_password_file_reads_back() -> None:
    known = {"a": "$7$1$x$y", "b": "$7$2$x$y"}
    assert accounts.read_password_file(accounts.password_file(known)) == known


def test_control_user_can_be_no_device() -> None:
    assert not is_name(CONTROL_USER)


@pytest.mark.parametrize(
    ("topic", "action"),
    [
        ("outrider/1/lab/a/desired", Action.READ),
        ("outrider/1/lab/a/cmd/+", Action.READ),
        ("outrider/1/lab/a/cmd/ping", Action.READ),
        ("outrider/1/lab/a/health", Action.WRITE),
        ("outrider/1/lab/a/event/door", Action.WRITE),
        ("outrider/1/lab/a/rsp/x-1", Action.WRITE),
    ],
)
def test_device_reaches_its_own_topic(topic: str, action: Action) -> None:
    assert allowed(LAB, "a", topic, action)
    assert not allowed(LAB, "b", topic, action)
    assert not allowed(LAB, "a", topic, Action.READ if action is Action.WRITE else Action.WRITE)


@pytest.mark.parametrize(
    "topic",
    [
        "#",
        "+/#",
        "outrider/#",
        "outrider/1/lab/+/desired",
        "outrider/1/lab/a/#",
        "outrider/1/lab/a/cmd/#",
        "$SYS/#",
    ],
)
def test_wider_subscription_than_its_own_is_not_allowed(topic: str) -> None:
    assert not allowed(LAB, "a", topic, Action.READ)


def test_acl_file_names_every_rule() -> None:
    text = accounts.acl_file(LAB).decode()
    for tail in accounts.DEVICE_READS:
        assert f"pattern read outrider/1/lab/%u/{tail}\n" in text
    for tail in accounts.DEVICE_WRITES:
        assert f"pattern write outrider/1/lab/%u/{tail}\n" in text
    assert text.startswith(f"user {CONTROL_USER}\ntopic readwrite outrider/1/lab/#\n")


def test_a_reader_reads_the_whole_fleet_and_writes_nothing() -> None:
    reader = f"{accounts.READER_PREFIX}plc"
    assert allowed(LAB, reader, "outrider/1/lab/#", Action.READ)
    assert not allowed(LAB, reader, "outrider/1/other/#", Action.READ)
    assert not allowed(LAB, reader, "outrider/1/lab/a/desired", Action.WRITE)
    assert not is_name(reader)
    assert f"user {reader}\ntopic read outrider/1/lab/#\n" in accounts.acl_file(LAB, [reader]).decode()


def test_a_device_publishes_what_workflows_have_below_its_own_data_alone() -> None:
    assert allowed(LAB, "a", "outrider/1/lab/a/data/line/1/state", Action.WRITE)
    assert not allowed(LAB, "a", "outrider/1/lab/b/data/line", Action.WRITE)
    assert not allowed(LAB, "a", "outrider/1/lab/a/data/+/x", Action.WRITE)
    assert not allowed(LAB, "a", "outrider/1/lab/a/data/x", Action.READ)
