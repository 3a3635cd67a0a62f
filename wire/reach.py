"""How a device is to reach its control plane where that is not as it was told at enrolment: `settings.connection` of its desired state."""

from __future__ import annotations

from pydantic import Field

from wire.doc import Doc

DIRECT = "direct"


class Reach(Doc):
    """What is empty, or 0, is as the device was enrolled or as its own file says.

    `url`: the control plane's. `broker_host`, `broker_port`, and `websocket`, the URL of the broker's WebSocket. `proxy`: the site's, as
    `http://HOST:PORT`, or `direct` for none; a name and password for it stay in the device's own file. Whom the device trusts is not
    changed by any of it.
    """

    url: str = Field(default="", max_length=500, pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$")
    broker_host: str = Field(default="", max_length=253, pattern=r"^[^\s/@]*$")
    broker_port: int = Field(default=0, ge=0, le=65535)
    websocket: str = Field(default="", max_length=500, pattern=r"^(wss?://[^\s/@?#]+(/[^\s@?#]*)?)?$")
    proxy: str = Field(default="", max_length=300, pattern=r"^(direct|http://[^\s/@]+:\d{1,5}/?)?$")
