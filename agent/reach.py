"""By which addresses the control plane is reached: as enrolment and the device's own file say, or as the desired state asks.

One place decides; the HTTPS client and the link to the broker follow it. Trust stays what it is: authority, certificate and keys of
enrolment hold for every address.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from agent.config import Network as Site
from agent.errors import ConfigRefused, UpdateRefused
from agent.identity import Identity
from agent.proxy import Proxy
from agent.proxy import parse as parse_proxy
from agent.routes import Routes
from wire.enrol import Broker
from wire.reach import DIRECT, Reach
from wire.reasons import Reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ends:
    """Where everything goes. `proxy` is a URL, with its password, or empty."""

    url: str
    broker: Broker
    websocket: str
    proxy: str = field(repr=False)

    @property
    def for_mqtt(self) -> Proxy | None:
        return parse_proxy(self.proxy)

    def routes(self, mode: str) -> Routes:
        """:raises ConfigRefused: a WebSocket is wanted and none known"""
        return Routes(self.broker, mode, self.websocket)


def ends(identity: Identity, site: Site, wanted: Reach | None) -> Ends:
    """What holds when this is asked for. Pure.

    :raises UpdateRefused: it cannot be used on this device
    """
    own = Ends(identity.url.rstrip("/"), identity.broker, site.websocket, site.proxy)
    if wanted is None:
        return own
    if own.url.startswith("https:") and wanted.url.startswith("http:"):
        raise _unusable(f"url {wanted.url} has no TLS, {own.url} has")
    secure = own.broker.tls or own.broker.websocket.startswith("wss:")
    if secure and wanted.websocket.startswith("ws:"):
        raise _unusable(f"websocket {wanted.websocket} has no TLS, the broker has")
    changes = {"host": wanted.broker_host, "port": wanted.broker_port}
    broker = own.broker.model_copy(update={name: value for name, value in changes.items() if value})
    found = Ends(
        wanted.url.rstrip("/") or own.url,
        broker,
        wanted.websocket or own.websocket,
        _proxy(own.proxy, wanted.proxy),
    )
    try:
        found.routes(site.mqtt)
        parse_proxy(found.proxy)
    except ConfigRefused as e:
        raise _unusable(str(e)) from e
    return found


def _proxy(own: str, wanted: str) -> str:
    """The device's own file knows the password for its proxy."""
    if wanted in ("", DIRECT):
        return "" if wanted else own
    known, asked = parse_proxy(own), httpx.URL(wanted)
    same = known is not None and (known.host, known.port) == (asked.host, asked.port)
    return own if same else wanted


def _unusable(why: str) -> UpdateRefused:
    return UpdateRefused(Reason.CONNECTION_UNUSABLE, f"settings.connection: {why}")


class Reaching:
    """`current` holds from the moment it is set. `on_change` is told of each change."""

    def __init__(self, identity: Identity, site: Site) -> None:
        self._identity = identity
        self._site = site
        self._own_url = identity.url.rstrip("/")
        self.current = ends(identity, site, None)
        self.on_change: Callable[[Ends], None] = lambda _ends: None
        self._switches: list[Switch] = []

    def check(self, wanted: Reach | None) -> None:
        """:raises UpdateRefused: it cannot be used on this device"""
        ends(self._identity, self._site, wanted)

    def use(self, wanted: Reach | None) -> None:
        """Go this way from now on; what cannot be used is logged, and the way of enrolment taken."""
        try:
            found = ends(self._identity, self._site, wanted)
        except UpdateRefused as e:
            log.error("the connection is as at enrolment", extra={"cause": str(e)})
            found = ends(self._identity, self._site, None)
        if found == self.current:
            return
        log.info("another way to the control plane", extra={"url": found.url, "broker": found.broker.host})
        self.current = found
        for switch in self._switches:
            switch.use(found.proxy)
        self.on_change(found)

    def client(
        self, verify: ssl.SSLContext, timeout_s: float, auth: httpx.Auth | None = None
    ) -> httpx.AsyncClient:
        """An HTTPS client that goes by the proxy and to the control plane that hold now."""
        switch = Switch(verify, self.current.proxy)
        self._switches.append(switch)
        return httpx.AsyncClient(
            timeout=timeout_s,
            verify=verify,
            auth=auth,
            mounts={"all://": switch},
            trust_env=not self._site.proxy,
            event_hooks={"request": [self._redirect]},
        )

    async def _redirect(self, request: httpx.Request) -> None:
        """What goes to the control plane of enrolment goes to the one that holds now."""
        address = str(request.url)
        if self.current.url != self._own_url and address.startswith(f"{self._own_url}/"):
            request.url = httpx.URL(self.current.url + address[len(self._own_url) :])
            request.headers["Host"] = request.url.netloc.decode("ascii")


class Switch(httpx.AsyncBaseTransport):
    """A transport whose proxy may change; requests under way end by the way they began."""

    def __init__(self, verify: ssl.SSLContext, proxy: str) -> None:
        self._verify = verify
        self._proxy = proxy
        self._inner = self._made()
        self._former: set[asyncio.Task[None]] = set()

    def use(self, proxy: str) -> None:
        if proxy == self._proxy:
            return
        former, self._proxy = self._inner, proxy
        self._inner = self._made()
        task = asyncio.get_running_loop().create_task(former.aclose())
        self._former.add(task)
        task.add_done_callback(self._former.discard)

    def _made(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._verify, proxy=self._proxy or None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
