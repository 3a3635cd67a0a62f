"""Properties that share their tables are those of the library."""

from __future__ import annotations

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleet.properties import share_tables


def _expiring(packet: int) -> Properties:
    made = Properties(packet)
    made.MessageExpiryInterval = 5
    made.UserProperty = ("a", "b")
    return made


def test_shared_tables_change_no_byte_and_keep_nothing_of_another_packet() -> None:
    alone = _expiring(PacketTypes.PUBLISH).pack()
    share_tables()
    share_tables()
    assert _expiring(PacketTypes.PUBLISH).pack() == alone
    assert not hasattr(Properties(PacketTypes.PUBLISH), "MessageExpiryInterval")
    read = Properties(PacketTypes.PUBLISH)
    read.unpack(alone)
    assert (read.MessageExpiryInterval, read.UserProperty) == (5, [("a", "b")])
