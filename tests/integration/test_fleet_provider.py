"""Sign-in by an identity provider: a real one on the loopback address, and a browser that follows redirects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from fleet.config import Provider, ProviderRole, load, save
from fleet.ports import free_port
from tests.fakes.identity_provider import CLIENT, IdentityProvider
from tests.integration.fleet_stand import Stand

pytestmark = pytest.mark.usefixtures("mosquitto")


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def stand(provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("provider") / "data")
    assert running.stop() == 0
    config = load(running.data)
    port = free_port()
    provider.redirect_uri = f"http://127.0.0.1:{port}/api/v1/session/provider/callback"
    oidc = Provider(
        issuer=provider.issuer,
        client_id=CLIENT[0],
        client_secret=CLIENT[1],
        redirect_url=provider.redirect_uri,
        roles=[
            ProviderRole(group="plant-a", role="operator", selector="site=a"),
            ProviderRole(group="it", role="admin"),
        ],
    )
    http = config.http.model_copy(update={"port": port})
    save(running.data, config.model_copy(update={"oidc": oidc, "http": http}))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def browser(stand: Stand) -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


def there_and_back(stand: Stand, browser: httpx.Client) -> httpx.Response:
    """To the provider and back to the callback; its answer."""
    away = browser.get(f"{stand.url}/api/v1/session/provider")
    assert away.status_code == 302
    consent = browser.get(away.headers["location"])
    assert consent.status_code == 302, consent.text
    return browser.get(consent.headers["location"])


def person(provider: IdentityProvider, sub: str, *groups: str, **more: Any) -> None:
    provider.person = {"sub": sub, "preferred_username": sub, "groups": list(groups), **more}


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


def test_groups_become_roles_anew_at_each_sign_in(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider
) -> None:
    person(provider, "pia", "plant-a", "canteen", name="Pia P.")
    done = there_and_back(stand, browser)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    seen = browser.get(f"{stand.url}/api/v1/session").json()
    assert (seen["name"], seen["bindings"]) == ("pia", [{"role": "operator", "selector": "site=a"}])
    person(provider, "pia", "it")
    assert there_and_back(stand, browser).status_code == 303
    seen = browser.get(f"{stand.url}/api/v1/session").json()
    assert seen["bindings"] == [{"role": "admin", "selector": ""}]
    with stand.client() as client:
        user, _ = client.user("pia")
        assert (user["full_name"], user["provider"], user["password"]) == ("Pia P.", True, False)
        assert [row["action"] for row in client.audit(subject="pia")].count("session.begin") == 2
        client.change_user("pia", disabled=True)
    assert told(there_and_back(stand, browser)) == (403, "provider-failed")


def test_nobody_without_a_group_and_nobody_under_the_name_of_another(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider
) -> None:
    person(provider, "stranger", "canteen")
    assert told(there_and_back(stand, browser)) == (403, "provider-failed")
    with stand.client() as client:
        client.create_user("local", password="seven wooden horses", bindings=[{"role": "admin"}])
        client.create_user("expected", bindings=[])
        person(provider, "sub-7", "it", preferred_username="local")
        assert told(there_and_back(stand, browser)) == (403, "provider-failed")
        person(provider, "sub-8", "it", preferred_username="expected@example.org")
        assert there_and_back(stand, browser).status_code == 303
        person(provider, "sub-9", "it", preferred_username="expected")
        assert told(there_and_back(stand, browser)) == (403, "provider-failed")


@pytest.mark.parametrize(
    "spoiled",
    [
        {"aud": "another"},
        {"iss": "http://127.0.0.1:1"},
        {"nonce": "old"},
        {"exp": 1},
        {"aud": [CLIENT[0], "other"]},
    ],
    ids=str,
)
def test_token_that_is_not_for_this_sign_in_is_not_believed(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider, spoiled: dict[str, Any]
) -> None:
    person(provider, "eve", "it")
    provider.spoil = spoiled
    try:
        assert told(there_and_back(stand, browser)) == (403, "provider-failed")
    finally:
        provider.spoil = {}
    assert there_and_back(stand, browser).status_code == 303


def test_token_of_another_key_is_not_believed(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider
) -> None:
    person(provider, "eve", "it")
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    try:
        assert told(there_and_back(stand, browser)) == (403, "provider-failed")
    finally:
        provider.signing_key = provider.key


def test_answer_counts_once_and_in_the_browser_that_asked(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider
) -> None:
    person(provider, "olga", "it")
    away = browser.get(f"{stand.url}/api/v1/session/provider").headers["location"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(away).query).items()}
    assert asked["code_challenge_method"] == "S256"
    back = browser.get(away).headers["location"]
    assert told(httpx.get(back)) == (403, "provider-failed"), "a browser that did not ask"
    assert browser.get(back).status_code == 303
    browser.cookies.set("outrider_login", asked["state"])
    assert told(browser.get(back)) == (403, "provider-failed"), "the same answer again"
    refused = f"{provider.redirect_uri}?error=access_denied&state=x"
    assert told(browser.get(refused)) == (403, "provider-failed")


def test_sign_in_that_failed_cannot_be_tried_again_with_another_code(
    stand: Stand, browser: httpx.Client, provider: IdentityProvider
) -> None:
    person(provider, "oskar", "it")
    away = browser.get(f"{stand.url}/api/v1/session/provider").headers["location"]
    back = browser.get(away).headers["location"]
    state = parse_qs(urlsplit(back).query)["state"][0]
    guessed = f"{provider.redirect_uri}?code=guessed&state={state}"
    assert told(browser.get(guessed)) == (403, "provider-failed")
    assert told(browser.get(back)) == (403, "provider-failed")
