"""Which packets of a stream need not be decoded where fewer frames are wanted than come. Pure: every time is an argument.

Pictures that no other refers to can be left out one by one. Where key frames alone come often enough, nothing else is decoded.
"""

from __future__ import annotations

from collections import deque

KEY_GAPS = 3
"""Distances of key frames that have to be short enough before the rest is left out."""
OFTEN_ENOUGH = 1.02
"""Times of frames jitter, and their sums are rounded: key frames may be this much of the wanted period apart."""
LATE_FACTOR = 1.5
"""A key frame that is later than this many of the longest distance will not come in time: everything is decoded again."""
HEAD_BYTES = 512
"""What stands before the first slice of a picture that is no key frame is far shorter."""
START = b"\x00\x00\x01"


class Economy:
    """For one stream. `period_s`: the least time between two frames that are wanted; 0 where all are."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self.opened()

    def opened(self) -> None:
        """The stream begins anew."""
        self._gaps: deque[float] = deque(maxlen=KEY_GAPS)
        self._last_key: float | None = None
        self._broken = False

    def spares(self, at_s: float, *, key: bool, reference: bool, due: bool, reordered: bool = False) -> bool:
        """Whether the packet of this time need not be decoded; to be asked once for each, in order.

        `reference`: others are made from it; `due`: a frame is wanted now; `reordered`: pictures come in another order than
        they are shown.
        """
        if not self._period_s:
            return False
        if key:
            self._key(at_s)
            return False
        if self._broken or (not reordered and self._keys_suffice(at_s)):
            # What is left out here cannot be referred to until the next key frame.
            self._broken = True
            return True
        return not reference and not due

    def _key(self, at_s: float) -> None:
        if self._last_key is not None:
            self._gaps.append(at_s - self._last_key)
        self._last_key = at_s
        self._broken = False

    def _keys_suffice(self, at_s: float) -> bool:
        if len(self._gaps) < KEY_GAPS or self._last_key is None:
            return False
        longest_s = max(self._gaps)
        return longest_s <= OFTEN_ENOUGH * self._period_s and at_s - self._last_key <= LATE_FACTOR * longest_s


def prefix_bytes(codec: str, extradata: bytes | None) -> int:
    """The size of the length before each unit of a packet (ISO/IEC 14496-15); 0 where start codes stand between them."""
    if not extradata or extradata[0] != 1:
        return 0
    at = {"h264": 4, "hevc": 21}.get(codec, len(extradata))
    return (extradata[at] & 3) + 1 if at < len(extradata) else 0


def is_reference(codec: str, packet: bytes, prefix: int) -> bool:
    """Whether other pictures may be made from this one; True where that cannot be told.

    Source: ITU-T H.264 §7.4.1 (`nal_ref_idc`), H.265 table 7-1 (sub-layer non-reference pictures). The packet's head suffices.
    """
    at = prefix if prefix else _after_start(packet, 0)
    while 0 <= at < len(packet):
        first = packet[at]
        if codec == "h264" and 1 <= first & 31 <= 5:
            return bool(first >> 5 & 3)
        if codec == "hevc" and (first >> 1 & 63) < 32:
            kind = first >> 1 & 63
            return kind >= 16 or kind % 2 == 1
        if codec not in ("h264", "hevc"):
            return True
        if prefix:
            at += int.from_bytes(packet[at - prefix : at], "big") + prefix
        else:
            at = _after_start(packet, at)
    return True


def _after_start(packet: bytes, begin: int) -> int:
    found = packet.find(START, begin)
    return found + len(START) if found >= 0 else -1
