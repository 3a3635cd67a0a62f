"""A control plane with its console, and a real browser that looks at it.

Every page that is opened watches itself: an error in the browser's console, a request to another origin, or content wider than the
screen is kept in `Screen.complaints`, and `Console.close` fails over it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright, ViewportSize, expect, sync_playwright

from tests.integration.fleet_stand import Stand

PASSWORD = "correct horse battery"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
patient = pytest.mark.timeout(360)
"""The first test of a file waits for the control plane and the browser, too, and each expectation may take `WAIT_MS`."""
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
WAIT_MS = 40_000
EXPECTED = re.compile(r"status of (401|403|404|409|412|422|429)")
"""The browser notes every answer that is an error; those that a test provokes are no complaint."""


class Screen:
    """A browser's window with its own cookies."""

    def __init__(
        self, browser: Browser, url: str, size: ViewportSize, scheme: str, touch: bool = False
    ) -> None:
        self.url = url
        self.complaints: list[str] = []
        self._context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=touch)  # type: ignore[arg-type]
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._asked)

    def go(self, path: str) -> Page:
        """Open a page of the console and wait until its heading is there."""
        self.page.goto(self.url + path)
        expect(self.page.locator("#main h1, #main .problem-title").first).to_be_visible()
        return self.page

    def sign_in(self, name: str, password: str = PASSWORD, path: str = "/") -> Page:
        self.page.goto(self.url + path)
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.keyboard.press("Enter")
        return self.page

    def swipe(self, *way: tuple[float, float]) -> None:
        """One finger down, along and up, in pixels of the window."""
        fingers = self._context.new_cdp_session(self.page)
        for at, (x, y) in enumerate(way):
            kind = "touchMove" if at else "touchStart"
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        fingers.detach()

    def overflow_px(self) -> int:
        """By how much the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def close(self) -> None:
        self._context.close()

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"asked elsewhere: {request.url}")


class Console:
    """The stand, the browser and the people: `ada` is admin, `vera` viewer, `oscar` operator where `site=north`."""

    def __init__(self, root: Path, more: Mapping[str, Any] | None = None, scripted: bool = True) -> None:
        self.stand = Stand(root, more={"console": {"enabled": True}, **(more or {})}, scripted=scripted)
        self._opened: tuple[Playwright, Browser] | None = None
        expect.set_options(timeout=WAIT_MS)
        self._screens: list[Screen] = []
        self.person("ada", "admin")
        self.person("vera", "viewer")
        self.person("oscar", "operator", "site=north")

    @property
    def _browser(self) -> Browser:
        """Started when it is first needed: while it is there, nothing else in this thread may run an event loop."""
        if self._opened is None:
            playwright = sync_playwright().start()
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            self._opened = playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        return self._opened[1]

    def person(self, name: str, role: str, selector: str = "") -> None:
        body = {"name": name, "password": PASSWORD, "bindings": [{"role": role, "selector": selector}]}
        self.ask("POST", "/users", body)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The API, as the fleet's admin."""
        headers = {"Authorization": f"Bearer {self.stand.admin_token}"}
        answer = httpx.request(
            method, f"{self.stand.url}/api/v1{path}", json=body, headers=headers, timeout=60
        )
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def screen(
        self,
        name: str = "",
        path: str = "/",
        size: ViewportSize = DESKTOP,
        scheme: str = "light",
        touch: bool = False,
    ) -> Screen:
        """A window, signed in where a name is given and on that page."""
        made = Screen(self._browser, self.stand.url, size, scheme, touch)
        self._screens.append(made)
        if name:
            made.sign_in(name, path=path)
            expect(made.page.locator("#main h1, #main .problem-title").first).to_be_visible()
        return made

    def shut(self) -> None:
        """Close the windows.

        :raises AssertionError: a page complained
        """
        complaints = [complaint for screen in self._screens for complaint in screen.complaints]
        for screen in self._screens:
            screen.close()
        self._screens.clear()
        assert not complaints, complaints

    def leave(self) -> None:
        """End the browser; the control plane goes on.

        :raises AssertionError: a page complained
        """
        try:
            self.shut()
        finally:
            if self._opened is not None:
                playwright, browser = self._opened
                self._opened = None
                browser.close()
                playwright.stop()

    def close(self) -> None:
        """:raises AssertionError: a page complained, or the control plane ended badly"""
        try:
            self.leave()
        finally:
            status = self.stand.stop()
        assert status == 0, self.stand.log.read_text()
        assert "Traceback" not in self.stand.log.read_text(), self.stand.log.read_text()
