"""The console's shell in a real browser: the door, the frame, and what a page may not do."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import expect

from tests.integration.console_stand import PASSWORD, PHONE, Console, needs_browser, patient

pytestmark = [needs_browser, patient]


def test_a_page_asks_who_one_is_and_is_shown_afterwards_by_keyboard_alone(console: Console) -> None:
    screen = console.screen()
    page = screen.page
    page.goto(f"{screen.url}/tokens")
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="API tokens")).to_be_visible()
    assert page.url == f"{screen.url}/tokens"
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_wrong_password_is_told_and_too_many_are_slowed_down(console: Console) -> None:
    screen = console.screen()
    page = screen.sign_in("nobody-known", "wrong")
    expect(page.get_by_role("alert")).to_have_text("Name and password do not fit.")
    for _ in range(12):
        httpx.post(f"{screen.url}/api/v1/session", json={"name": "nobody-known", "password": "wrong"})
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Too many sign-ins have failed. Try again in")


def test_pages_come_under_a_policy_and_only_to_who_is_signed_in(console: Console) -> None:
    url = console.stand.url
    answer = httpx.get(f"{url}/tokens")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Ftokens")
    door = httpx.get(f"{url}/sign-in", params={"next": "//evil.example/"})
    assert 'data-next=""' in door.text
    assert "script-src 'self';" in door.headers["content-security-policy"]
    socket = f"{url}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx.get(socket).status_code == 403, "the pages' socket was open to everybody"
    session = httpx.post(f"{url}/api/v1/session", json={"name": "vera", "password": PASSWORD})
    cookies = dict(session.cookies)
    assert httpx.get(socket, cookies=cookies, headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx.get(f"{url}/", cookies=cookies).headers["content-security-policy"].startswith("default-src")
    unknown = httpx.get(f"{url}/api/v1/nothing", cookies=cookies)
    assert unknown.headers["content-type"] == "application/problem+json"


def test_a_token_is_made_shown_once_used_and_ended(console: Console) -> None:
    screen = console.screen("ada", "/tokens")
    page = screen.page
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Name").fill("no such name!")
    page.get_by_role("button", name="Make token").click()
    expect(page.get_by_text("body.name")).to_be_visible()
    page.get_by_label("Name").fill("grafana")
    page.get_by_role("button", name="Make token").click()
    shown = page.locator(".command code")
    expect(shown).to_have_text(re.compile(r"^oa_"))
    token = shown.inner_text()
    assert console.stand.get("/api/v1/devices", token).status_code == 200
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row").filter(has_text="grafana")
    row.get_by_role("button", name="End").click()
    page.get_by_role("button", name="End token").click()
    expect(row.get_by_text("ended")).to_be_visible()
    assert console.stand.get("/api/v1/devices", token).status_code == 401


def test_an_unknown_page_says_so(console: Console) -> None:
    screen = console.screen("vera", "/no/such/page")
    expect(screen.page.get_by_role("alert")).to_contain_text("There is no page /no/such/page.")


def test_a_session_that_ends_leads_back_to_the_door(console: Console) -> None:
    screen = console.screen("oscar", "/tokens")
    screen.page.get_by_role("button", name="Sign out").click()
    expect(screen.page.get_by_role("button", name="Sign in")).to_be_visible()
    screen.page.goto(f"{screen.url}/tokens")
    expect(screen.page).to_have_url(re.compile("/sign-in"))


def test_the_phone_has_a_menu_and_dark_follows_the_system_or_the_button(console: Console) -> None:
    screen = console.screen("vera", "/tokens", PHONE, "dark")
    page = screen.page
    assert screen.overflow_px() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 248)"
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert screen.overflow_px() == 0
