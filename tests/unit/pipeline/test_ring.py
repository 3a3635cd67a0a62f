"""What the ring of a camera's last seconds holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.pipeline.ring import Ring, Still


def still(at_s: float, size: int = 10) -> Still:
    return Still(at_s, 1000.0 + at_s, bytes(size))


def test_what_is_older_than_its_seconds_goes() -> None:
    ring = Ring(2.0, 1000)
    for at_s in range(6):
        ring.add(still(float(at_s)))
    assert [s.captured_mono for s in ring.between(0.0, 99.0)] == [3.0, 4.0, 5.0]
    assert [s.captured_mono for s in ring.between(3.5, 4.5)] == [4.0]
    assert ring.squeezed == 0


def test_the_oldest_gives_way_to_the_bytes_and_is_counted() -> None:
    ring = Ring(100.0, 25)
    for at_s in range(4):
        ring.add(still(float(at_s)))
    ring.add(still(9.0, 26))
    assert [s.captured_mono for s in ring.between(0.0, 99.0)] == [2.0, 3.0]
    assert ring.squeezed == 3


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 500)), max_size=100),
    st.floats(0.1, 20.0),
    st.integers(1, 2000),
)
def test_it_never_holds_more_than_it_may(
    added: list[tuple[float, int]], seconds: float, max_bytes: int
) -> None:
    ring, at_s = Ring(seconds, max_bytes), 0.0
    for step_s, size in added:
        at_s += step_s
        ring.add(still(at_s, size))
        held = ring.between(0.0, at_s)
        assert len(held) == len(ring)
        assert sum(len(s.jpeg) for s in held) == ring.bytes <= max_bytes
        assert all(s.captured_mono >= at_s - seconds for s in held if s.captured_mono <= at_s)
