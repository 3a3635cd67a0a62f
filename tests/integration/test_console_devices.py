"""The pages of devices in a real browser, over a device that speaks real MQTT."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.integration.console_device import SimulatedDevice
from tests.integration.console_stand import PASSWORD, PHONE, Console, needs_browser, patient

pytestmark = [needs_browser, patient]


@pytest.fixture(scope="module")
def gate(console_plane: Console) -> Iterator[SimulatedDevice]:
    """`gate-1` at the site north, with a camera that streams and one that is lost."""
    with SimulatedDevice(console_plane.stand, "gate-1", {"site": "north"}) as device:
        device.report("PROBATION")
        device.tell()
        device.event("door", 7, "gate-event")
        yield device


def test_the_overview_counts_devices_and_leads_to_them(console: Console, gate: SimulatedDevice) -> None:
    page = console.screen("vera").page
    online = page.get_by_role("link", name="online")
    expect(online.locator(".figure-value")).to_have_text(re.compile("[1-9]"))
    expect(page.get_by_role("table", name="What runs where")).to_contain_text("people")
    page.get_by_role("table", name="Sites").get_by_role("link", name="north").click()
    expect(page.get_by_role("link", name="gate-1")).to_be_visible()
    page.get_by_label("Name").fill("no such device")
    expect(page.get_by_text("No device here")).to_be_visible()
    page.get_by_label("Name").fill("GATE")
    expect(page.get_by_role("link", name="gate-1")).to_be_visible()


def test_a_device_shows_what_it_tells_now(console: Console, gate: SimulatedDevice) -> None:
    page = console.screen("vera", "/devices/gate-1").page
    expect(page.locator(".figures")).to_contain_text("1 of 2")
    expect(page.get_by_role("listitem").filter(has_text="probation")).to_have_attribute(
        "aria-current", "step"
    )
    gate.tell(fps=24.9, lost=False)
    gate.report("COMMITTED")
    expect(page.locator(".figures")).to_contain_text("2 of 2")
    expect(page.locator(".figures")).to_contain_text("49.8")
    expect(page.get_by_role("listitem").filter(has_text="committed")).to_have_attribute(
        "aria-current", "step"
    )


def test_a_camera_shows_its_picture_and_a_refusal_says_why(console: Console, gate: SimulatedDevice) -> None:
    page = console.screen("oscar", "/devices/gate-1/cameras/door").page
    expect(page.get_by_role("table", name="Steps")).to_contain_text("people_in_zone")
    page.get_by_role("button", name="Take a picture").click()
    shown = page.get_by_role("img", name="Picture of door")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 640
    refusal = {"ok": False, "reason": "privacy-policy", "message": "the policy of door lets no picture out"}
    gate.answers["snapshot"] = lambda _: dict(refusal)
    page.get_by_role("button", name="Take a picture").click()
    expect(page.get_by_text("No picture: the policy of door lets no picture out")).to_be_visible()
    page.get_by_role("button", name="Restart camera").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("dialog").get_by_role("button", name="Restart camera").click()
    expect(page.get_by_text("door is being restarted")).to_be_visible()
    assert ("restart-camera", {"camera": "door"}) in gate.asked
    audited = [row["action"] for row in console.ask("GET", "/audit?subject=gate-1&actor=user:oscar")["items"]]
    assert {"command.snapshot", "command.restart-camera"} <= set(audited)


def test_logs_events_state_and_health_are_shown(console: Console, gate: SimulatedDevice) -> None:
    screen = console.screen("oscar", "/devices/gate-1/logs")
    page = screen.page
    page.get_by_role("button", name="Read").click()
    expect(page.get_by_role("log")).to_contain_text("camera does not come back")
    page.get_by_label("Only lines with").fill("connected")
    expect(page.get_by_role("log")).not_to_contain_text("camera lost")
    screen.go("/devices/gate-1/events")
    page.get_by_role("row").filter(has_text="count 7").get_by_role("button", name="Show").click()
    expect(page.get_by_role("dialog")).to_contain_text('"frame_seq": 7')
    screen.go("/devices/gate-1/state")
    expect(page.get_by_text("Nothing is desired of it yet")).to_be_visible()
    screen.go("/devices/gate-1/health")
    expect(page.get_by_role("heading", name="gate-1")).to_be_visible()


def test_what_a_viewer_may_not_do_is_disabled_with_the_reason(
    console: Console, gate: SimulatedDevice
) -> None:
    screen = console.screen("vera", "/devices/gate-1/care")
    page = screen.page
    for name in ("Set labels", "Stop update", "Retire device"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    reason = page.get_by_role("button", name="Retire device").get_attribute("title")
    assert reason == "Needs the role operator here; you are viewer."
    screen.go("/devices/gate-1/cameras/door")
    expect(page.get_by_role("button", name="Take a picture")).to_be_disabled()
    screen.go("/devices")
    expect(page.get_by_role("button", name="Add a device")).to_be_disabled()
    expect(
        page.get_by_title("Needs the role admin for the whole fleet; you are viewer.").first
    ).to_be_visible()


def test_a_device_is_added_by_the_command_that_is_shown(console: Console) -> None:
    page = console.screen("ada", "/devices").page
    page.get_by_role("button", name="Add a device").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("lane-9")
    dialog.get_by_label("Labels").fill("site")
    dialog.get_by_role("button", name="Make the command").click()
    expect(page.get_by_text("write KEY=VALUE")).to_be_visible()
    dialog.get_by_label("Labels").fill("site=south, line=9")
    dialog.get_by_role("button", name="Make the command").click()
    shown = page.locator(".command code")
    expect(shown).to_have_text(
        re.compile(rf"^sudo outrider agent enroll --allow-http {console.stand.url} \S+$")
    )
    token = shown.inner_text().split()[-1]
    answer = httpx.post(f"{console.stand.url}/api/v1/enroll", json={"token": token})
    assert answer.status_code == 201, answer.text
    page.get_by_role("link", name="Open lane-9").click()
    expect(page.get_by_role("heading", name="lane-9")).to_be_visible()
    expect(page.locator("#main")).to_contain_text("line=9")


def test_labels_are_changed_with_care(console: Console, gate: SimulatedDevice) -> None:
    page = console.screen("ada", "/devices/gate-1/care").page
    page.get_by_role("textbox", name="Labels").fill("site=north, floor=2")
    page.get_by_role("button", name="Set labels").click()
    expect(page.get_by_text("Labels are set")).to_be_visible()
    assert console.ask("GET", "/devices/gate-1/labels")["labels"] == {"site": "north", "floor": "2"}
    console.ask("PUT", "/devices/gate-1/labels", {"labels": {"site": "north"}})
    page.get_by_role("button", name="Set labels").click()
    expect(page.get_by_text("another one now").or_(page.get_by_text("changed")).first).to_be_visible()


def test_a_user_is_made_and_signs_in(console: Console) -> None:
    page = console.screen("ada", "/users").page
    page.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("nora")
    dialog.get_by_label("Password", exact=True).fill("another long password")
    dialog.get_by_label("Where").fill("site=south")
    dialog.get_by_role("button", name="Make user").click()
    expect(page.get_by_role("row").filter(has_text="nora")).to_contain_text("viewer where site=south")
    other = console.screen()
    other.sign_in("nora", "another long password", "/devices")
    expect(other.page.get_by_role("link", name="lane-9")).to_be_visible()
    expect(other.page.get_by_role("link", name="gate-1")).to_have_count(0)


def test_no_page_is_wider_than_a_phone(console: Console, gate: SimulatedDevice) -> None:
    screen = console.screen("ada", size=PHONE)
    for path in ("/", "/devices/gate-1", "/devices/gate-1/cameras/door", "/events", "/audit", "/users"):
        screen.go(path)
        assert screen.overflow_px() == 0, path


def test_enrolment_tokens_are_listed_and_ended(console: Console) -> None:
    console.ask("POST", "/enrolment-tokens", {"device": "lane-77"})
    page = console.screen("ada", "/tokens").page
    row = page.get_by_role("row").filter(has_text="lane-77")
    row.get_by_role("button", name="End").click()
    page.get_by_role("dialog").get_by_role("button", name="End token").click()
    expect(row.get_by_text("ended")).to_be_visible()


def test_ones_own_password_is_changed_without_any_role_and_ends_the_session(console: Console) -> None:
    console.ask("POST", "/users", {"name": "paul", "password": PASSWORD})
    screen = console.screen()
    page = screen.sign_in("paul")
    expect(page.get_by_text("An admin gives you one on the page Users.")).to_be_visible()
    page.get_by_role("link", name="paul").click()
    expect(page.get_by_role("heading", name="Another password")).to_be_visible()
    page.get_by_label("Old password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("quite another password")
    page.get_by_label("New password again").fill("quite another one")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("not the same both times")).to_be_visible()
    page.get_by_label("New password again").fill("quite another password")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    other = console.screen()
    other.sign_in("paul", "quite another password")
    expect(other.page.get_by_role("link", name="paul")).to_be_visible()
