"""Which way to the control plane holds, what of it a change touches, and when contact counts as lost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from agent.config import Network
from agent.errors import UpdateRefused
from agent.identity import Identity
from agent.reach import Reaching, ends
from agent.update.contact import Contact, Touch, touched
from agent.update.ground import Go, Refusal, Wait
from wire.desired import Desired
from wire.doc import read
from wire.enrol import Broker
from wire.errors import Refused
from wire.reach import Reach
from wire.reasons import Reason

BROKER = Broker(host="old", port=8883, username="d", password="", tls=True, websocket="wss://old/mqtt")
WHO = Identity("https://old/x", "f", "d", "", BROKER, {})
SITE = Network(proxy="http://site:word@proxy:3128")
DIGEST = "sha256:" + "1" * 64


def reach(**fields: Any) -> Reach:
    return Reach.model_validate(fields)


def document(revision: int = 1, agent: str = "", **connection: Any) -> Desired:
    body: dict[str, Any] = {"device": "d", "revision": revision, "issued_at": 1.0}
    body["settings"] = {"connection": connection or None, "update": {"contact_s": 5.0}}
    return read(Desired, body | ({"agent": {"digest": agent}} if agent else {}))


def test_what_is_not_asked_for_stays_as_it_was_at_enrolment() -> None:
    own = ends(WHO, SITE, None)
    assert (own.url, own.broker, own.proxy) == ("https://old/x", BROKER, SITE.proxy)
    assert ends(WHO, SITE, reach()) == own
    moved = ends(WHO, SITE, reach(url="https://new/", broker_port=443, proxy="direct"))
    assert (moved.url, moved.broker.host, moved.broker.port, moved.proxy) == ("https://new", "old", 443, "")
    assert moved.broker.tls
    assert ends(WHO, SITE, reach(proxy="http://proxy:3128")).proxy == SITE.proxy, "its password stays known"
    assert ends(WHO, SITE, reach(proxy="http://other:3128")).proxy == "http://other:3128"
    assert "site:" not in repr(own)


@pytest.mark.parametrize("fields", [{"url": "http://old/x"}, {"websocket": "ws://old/mqtt"}])
def test_tls_is_not_given_up(fields: dict[str, str]) -> None:
    with pytest.raises(UpdateRefused) as refused:
        ends(WHO, SITE, reach(**fields))
    assert refused.value.reason is Reason.CONNECTION_UNUSABLE


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://x"},
        {"url": "https://user:word@x"},
        {"proxy": "http://user:word@x:1"},
        {"proxy": "x:1"},
        {"broker_port": 70000},
        {"broker_host": "a b"},
    ],
)
def test_what_is_no_address_is_refused_with_its_place(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        document(**fields)
    assert refused.value.problems[0].path == f"settings.connection.{next(iter(fields))}"


def test_requests_to_the_control_plane_follow_and_others_do_not() -> None:
    async def main() -> list[tuple[str, str]]:
        reaching = Reaching(WHO, Network())
        client = httpx.AsyncClient(
            transport=httpx.MockTransport(
                lambda r: httpx.Response(200, json=[str(r.url), r.headers["host"]])
            ),
            event_hooks={"request": [reaching._redirect]},
        )
        async with client:
            found = [(await client.get("https://old/x/api?a=1")).json()]
            reaching.use(reach(url="https://new:8443/y"))
            addresses = ("https://old/x/api?a=1", "https://old/xy", "https://store/x")
            found += [(await client.get(address)).json() for address in addresses]
        return [(address, host) for address, host in found]

    assert asyncio.run(main()) == [
        ("https://old/x/api?a=1", "old"),
        ("https://new:8443/y/api?a=1", "new:8443"),
        ("https://old/xy", "old"),
        ("https://store/x", "store"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "touch"),
    [
        (document(), document(), Touch.NOTHING),
        (None, document(broker_port=1), Touch.NOTHING),
        (document(), document(broker_port=1), Touch.BROKER),
        (document(broker_port=1), document(), Touch.BROKER),
        (document(), document(url="https://b"), Touch.HTTPS),
        (document(), document(proxy="direct"), Touch.BROKER | Touch.HTTPS),
        (document(), document(agent=DIGEST), Touch.AGENT),
        (document(agent=DIGEST), document(), Touch.NOTHING),
    ],
)
def test_what_a_change_touches(before: Desired | None, after: Desired, touch: Touch) -> None:
    assert touched(after, before) == touch


def test_contact_is_needed_by_the_very_way_that_was_touched() -> None:
    contact = Contact(lambda: True)
    contact.by_mqtt = lambda: True
    contact.begin(Touch.BROKER)
    contact.by_mqtt = lambda: False
    assert isinstance(contact.judge(document(), 4.0), Wait), (
        "HTTPS does not make up for a broker that is lost"
    )
    refused = contact.judge(document(), 6.0)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.gate, refused.suspects) == (Reason.CONTACT_LOST, "contact", ())
    contact.begin(Touch.BROKER)
    assert isinstance(contact.judge(document(), 6.0), Go), "a broker that was away before may stay away"
    contact.begin(Touch.BROKER, anew=False)
    assert isinstance(contact.judge(document(), 6.0), Refusal), "after a restart nobody knows"
    contact.end()
    assert isinstance(contact.judge(document(), 6.0), Go)


def test_https_is_asked_until_it_answers() -> None:
    async def main() -> list[type]:
        answers = iter((False, True))
        contact = Contact()

        async def ask() -> bool:
            return next(answers)

        contact.by_https = ask
        contact.begin(Touch.HTTPS)
        kinds = []
        for _ in range(2):
            kinds.append(type(contact.judge(document(), 1.0)))
            asking = contact._asking
            assert asking is not None
            await asyncio.wait_for(asking, 5)
        kinds.append(type(contact.judge(document(), 99.0)))
        return kinds

    assert asyncio.run(main()) == [Wait, Wait, Go]
