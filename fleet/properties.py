"""Properties of MQTT 5 packets at a bearable price: paho makes four tables anew for every packet, which is most of what a message costs.

They are the same each time and only read, so they are made once.
"""

from __future__ import annotations

from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TABLES = ("types", "names", "properties")


def share_tables() -> None:
    """Let every `Properties` of this process have the same tables. May be called again."""
    paho: Any = Properties
    if getattr(paho, "_outrider_shared", False):
        return
    made = paho(PacketTypes.PUBLISH)
    shared = {name: getattr(made, name) for name in TABLES}

    def init(self: Any, packetType: int) -> None:  # noqa: N803 - the library's name
        object.__setattr__(self, "packetType", packetType)
        for name, table in shared.items():
            object.__setattr__(self, name, table)

    paho.__init__ = init
    paho._outrider_shared = True
