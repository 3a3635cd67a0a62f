"""Which packets need not be decoded, and what is lost on the way."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.camera.economy import Economy, is_reference, prefix_bytes
from runtime.camera.libav import LossCounter
from runtime.camera.pace import RateLimit

START = b"\x00\x00\x00\x01"
H264 = {"key": b"\x65", "reference": b"\x41", "not": b"\x01"}
HEVC = {"key": b"\x26\x01", "reference": b"\x02\x01", "not": b"\x00\x01"}


@pytest.mark.parametrize(("codec", "units"), [("h264", H264), ("hevc", HEVC)])
@pytest.mark.parametrize("kind", ["key", "reference", "not"])
def test_whether_others_are_made_from_a_picture_stands_in_its_head(
    codec: str, units: dict[str, bytes], kind: str
) -> None:
    delimiter = b"\x09\xf0" if codec == "h264" else b"\x46\x01\x50"
    picture = units[kind] + b"\x88\x84"
    with_codes = START + delimiter + START + picture
    with_lengths = b"".join(len(u).to_bytes(4, "big") + u for u in (delimiter, picture))
    assert is_reference(codec, with_codes, 0) is (kind != "not")
    assert is_reference(codec, with_lengths, 4) is (kind != "not")


def test_what_cannot_be_told_is_taken_for_a_reference() -> None:
    assert is_reference("h264", b"", 0)
    assert is_reference("h264", START, 0)
    assert is_reference("mjpeg", b"\xff\xd8\xff\xe0", 0)
    assert is_reference("h264", b"\xff\xff\xff\xff\x09", 4)


def test_the_length_prefix_is_in_the_configuration_record() -> None:
    assert prefix_bytes("h264", b"\x01\x64\x00\x0b\xff") == 4
    assert prefix_bytes("hevc", b"\x01" + bytes(20) + b"\xfd") == 2
    assert prefix_bytes("h264", START + b"\x67") == 0
    assert prefix_bytes("h264", None) == 0


def run(
    fps: float, period_s: float, group: int, *, reference: bool, frames: int = 400
) -> tuple[int, list[float]]:
    """Packets decoded, and the times of the frames that pass the limit."""
    limit, economy = RateLimit(fps), Economy(1 / fps)
    decoded, passed = 0, []
    for number in range(frames):
        at_s, key = 100.0 + number * period_s, number % group == 0
        due = limit.due(at_s)
        if economy.spares(at_s, key=key, reference=reference or key, due=due):
            continue
        decoded += 1
        if not limit.refuses(at_s):
            passed.append(at_s)
    return decoded, passed


def test_pictures_that_no_other_needs_are_decoded_only_when_one_is_due() -> None:
    decoded, passed = run(5.0, 0.04, 1000, reference=False)
    assert decoded == pytest.approx(len(passed), abs=2)
    assert len(passed) == pytest.approx(5 * 16, abs=2)


def test_where_key_frames_suffice_nothing_else_is_decoded() -> None:
    decoded, passed = run(1.0, 0.04, 25, reference=True)
    # Three distances are seen first; from then on one packet of 25.
    assert decoded == 3 * 25 + 13
    assert len(passed) == 16


def test_where_key_frames_are_too_rare_every_reference_is_decoded() -> None:
    decoded, passed = run(5.0, 0.04, 25, reference=True)
    assert decoded == 400
    assert len(passed) == pytest.approx(80, abs=2)


def test_after_key_frames_have_become_rare_all_is_decoded_again() -> None:
    economy = Economy(1.0)
    at_s = 0.0
    for second in range(5):
        at_s = float(second)
        assert not economy.spares(at_s, key=True, reference=True, due=True)
    assert economy.spares(at_s + 0.5, key=False, reference=True, due=False)
    # The next key frame comes late: what refers to the pictures that were left out cannot be shown.
    assert economy.spares(at_s + 9.0, key=False, reference=True, due=True)
    assert not economy.spares(at_s + 10.0, key=True, reference=True, due=True)
    assert not economy.spares(at_s + 10.1, key=False, reference=True, due=False)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=200), st.floats(0.05, 3.0))
def test_no_picture_is_decoded_whose_reference_was_left_out(
    packets: list[tuple[bool, bool, bool]], period_s: float
) -> None:
    economy, whole = Economy(period_s), True
    for number, (key, reference, due) in enumerate(packets):
        spared = economy.spares(number * 0.1, key=key, reference=reference or key, due=due)
        if key:
            assert not spared
            whole = True
        elif spared and reference:
            whole = False
        assert spared or whole


def test_without_a_limit_everything_is_decoded() -> None:
    economy = Economy(0.0)
    assert not any(economy.spares(t, key=False, reference=False, due=False) for t in range(9))


def report(sent: int) -> bytes:
    return struct.pack("<I4xQIIII", 1, 2, 3, sent, 4, 0)


def test_the_share_of_lost_packets_is_that_between_two_reports() -> None:
    counter = LossCounter()
    counter.reported(report(100))
    assert (counter.loss.packets, counter.loss.share) == (0, None)
    counter.heard(
        iter(
            [
                "RTP: missed 15 packets\n",
                "max delay reached. need to consume packet\n",
                "RTP: missed 5 packets\n",
            ]
        )
    )
    counter.reported(report(200))
    counter.reported(report(200))
    assert (counter.loss.packets, counter.loss.share) == (20, 0.2)
    counter.reported(report(300))
    assert (counter.loss.packets, counter.loss.share) == (20, 0.0)
    counter.reported(b"short")
