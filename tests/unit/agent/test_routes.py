"""Which way to the broker is tried, and what a proxy's address may be."""

from __future__ import annotations

import pytest

from agent.config import parse
from agent.errors import ConfigRefused
from agent.proxy import parse as parse_proxy
from agent.routes import FAILURES_EACH, Route, Routes
from wire.enrol import Broker

BROKER = Broker(host="mqtt", port=8883, username="d", password="", tls=True, websocket="wss://web/mqtt")
TCP, WEB = Route("mqtt", 8883, True), Route("web", 443, True, "/mqtt")


def tried(routes: Routes, failures: int) -> list[Route]:
    seen = []
    for _ in range(failures):
        seen.append(routes.current)
        routes.failed()
    return seen


def test_auto_takes_turns_and_stays_where_it_was_let_in() -> None:
    routes = Routes(BROKER, "auto")
    assert tried(routes, 2 * FAILURES_EACH) == [TCP] * FAILURES_EACH + [WEB] * FAILURES_EACH
    assert tried(routes, FAILURES_EACH) == [TCP] * FAILURES_EACH
    routes.held()
    assert tried(routes, FAILURES_EACH - 1) == [WEB] * (FAILURES_EACH - 1)
    routes.held()
    assert routes.current == WEB


@pytest.mark.parametrize(
    ("mode", "broker", "url", "want"),
    [
        ("tcp", BROKER, "", [TCP]),
        ("websocket", BROKER, "", [WEB]),
        ("websocket", BROKER, "ws://10.0.0.1:81", [Route("10.0.0.1", 81, False, "/")]),
        ("auto", BROKER.model_copy(update={"websocket": ""}), "", [TCP]),
        ("off", BROKER, "", [TCP]),
    ],
)
def test_other_modes_have_one_way(mode: str, broker: Broker, url: str, want: list[Route]) -> None:
    assert set(tried(Routes(broker, mode, url), 10)) == set(want)


def test_what_cannot_be_used_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ConfigRefused, match="give its URL"):
        Routes(BROKER.model_copy(update={"websocket": ""}), "websocket")
    with pytest.raises(ConfigRefused, match="wss://HOST/PATH"):
        Routes(BROKER, "auto", "https://web/mqtt")
    for url in ("ftp://proxy:1", "http://proxy", "proxy:3128", "http://proxy:x"):
        with pytest.raises(ConfigRefused, match=r"network\.proxy"):
            parse_proxy(url)
    with pytest.raises(ConfigRefused, match="expected one of auto"):
        parse({"network": {"mqtt": "udp"}})


def test_password_of_a_proxy_is_not_shown() -> None:
    config = parse({"network": {"proxy": "http://site:a%2Fb@proxy:3128"}})
    proxy = parse_proxy(config.network.proxy)
    assert proxy is not None
    assert (proxy.username, proxy.password) == ("site", "a/b")
    assert "a/b" not in repr(proxy)
    assert "a%2Fb" not in repr(config)
