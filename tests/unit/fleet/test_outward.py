"""What is told outwards, as far as it is decided without a network."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.outward.entities import unique
from fleet.outward.look import outputs
from fleet.outward.spans import Told, of_rollout, of_update, trace_of
from fleet.outward.sparkplug import EdgeNode
from fleet.outward.sparkplug_payload import decode, encode
from tests.unit.fleet.conftest import StillClock
from wire import cloudevents

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
PLACES = st.tuples(NAMES, st.one_of(st.just(""), NAMES))


@given(PLACES, PLACES)
def test_two_places_never_have_one_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (unique("f", *one) == unique("f", *other)) == (one == other)
    assert all(c.isascii() and (c.isalnum() or c in "_-") for c in unique("f", *one))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20),
        st.one_of(
            st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20)
        ),
        max_size=6,
    )
)
def test_metrics_come_back_as_they_went(metrics: dict[str, int | float | bool | str]) -> None:
    back, seq = decode(encode(metrics, 1.5, 255))
    assert (back, seq) == (metrics, 255)
    assert {key: type(value) for key, value in back.items()} == {
        key: type(value) for key, value in metrics.items()
    }


def test_numbers_begin_anew_after_255_and_after_a_birth(clock: StillClock) -> None:
    edge = EdgeNode("g", "n", "1", clock)
    edge.birth()
    told = [edge.device("d", {"x": float(n)}) for n in range(300)]
    numbers = [decode(message[1])[1] for message in told if message is not None]
    assert numbers == [n % 256 for n in range(1, 301)]
    assert edge.device("d", {"x": 299.0}) is None
    topic, content = edge.birth()
    assert (topic, decode(content)[1]) == ("spBv1.0/g/NBIRTH/n", 0)
    again = edge.device("d", {"x": 299.0})
    assert again is not None
    assert (again[0], decode(again[1])[1]) == ("spBv1.0/g/DBIRTH/n/d", 1)
    other_kind = edge.device("d", {"x": "text"})
    assert other_kind is not None
    assert other_kind[0].split("/")[2] == "DBIRTH"


def test_outputs_of_one_value_are_told_and_no_others() -> None:
    body = {"outputs": {"n": 3, "open": True, "text": "a", "long": "x" * 300, "list": [1], "zones": {"in": 1, "out": 2},
                        "found": {"predictions": [1, 2]}, "it's": 1, "none": None}}  # fmt: skip
    assert outputs(body) == {"n": 3, "open": True, "text": "a", "zones.in": 1, "zones.out": 2, "found": 2}
    assert outputs({"outputs": [1]}) == {}


def test_a_device_whose_clock_is_behind_begins_nothing_before_the_click() -> None:
    told = Told("d", 7, 1000.0, "user:anna")
    began = {"offered": 900.0, "prepare": 950.0, "committed": 1003.0}
    reported = {"offered": 7, "phase": "COMMITTED", "update": {"began": began}}
    spans = of_update("f", told, reported)
    assert [(s.name, s.begin_wall, s.end_wall) for s in spans] == [
        ("update d", 1000.0, 1003.0),
        ("deliver", 1000.0, 1000.0),
        ("offered", 1000.0, 1000.0),
        ("prepare", 1000.0, 1003.0),
    ]
    assert of_update("f", told, {**reported, "phase": "PROBATION"}) == []
    assert of_update("f", told, {**reported, "offered": 8}) == []
    assert of_update("f", told, {"offered": 7, "phase": "COMMITTED"}) == []
    assert trace_of("f", Told("d", 7, 1.0, "x", "v2")) == of_rollout("f", "v2", "DONE", "x", 0.0, 1.0).trace


def test_a_signature_is_the_one_of_the_standard() -> None:
    """The example of the specification's own reference libraries."""
    secret, message = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    headers = cloudevents.signed_headers(secret, message, 1614265330.0, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
