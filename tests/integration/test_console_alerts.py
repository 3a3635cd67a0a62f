"""The pages of alerts in a real browser: a camera is lost, somebody cares, somebody is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.integration.console_device import SimulatedDevice
from tests.integration.console_stand import Console, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module", autouse=True)
def quay(console_plane: Console) -> Iterator[SimulatedDevice]:
    """`quay-1`, which has lost a camera; the rule tells of that at once."""
    console_plane.ask("PUT", "/alert-rules/cameras", {"codes": ["camera-*"], "for_s": 0, "place": 1})
    with SimulatedDevice(console_plane.stand, "quay-1", {"site": "north"}) as device:
        device.report()
        device.tell()
        yield device


def test_an_alert_is_acknowledged_silenced_and_its_fault_listed(console: Console) -> None:
    screen = console.screen("oscar", "/alerts")
    page = screen.page
    row = page.get_by_role("row").filter(has_text="quay-1")
    expect(row.get_by_text("firing")).to_be_visible()
    row.get_by_role("button", name="Acknowledge").click()
    page.get_by_label("Note for the others").fill("the switch is being replaced")
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    expect(row.get_by_text("oscar cares")).to_be_visible()
    row.get_by_role("button", name="Show").click()
    expect(page.get_by_role("dialog")).to_contain_text("the switch is being replaced")
    page.get_by_role("button", name="Close").click()
    row.get_by_role("button", name="Take back").click()
    expect(row.get_by_text("firing")).to_be_visible()
    row.get_by_role("button", name="Silence").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Which").click()
    page.get_by_role("option", name="every alert of the device quay-1").click()
    dialog.get_by_label("Why").fill("maintenance")
    dialog.get_by_role("button", name="Silence").click()
    expect(row.get_by_text("silenced")).to_be_visible()
    screen.go("/silences")
    page.get_by_role("row").filter(has_text="maintenance").get_by_role("button", name="End now").click()
    page.get_by_role("button", name="End silence").click()
    expect(page.get_by_role("row").filter(has_text="maintenance").get_by_text("over")).to_be_visible()
    screen.go("/faults")
    expect(page.get_by_role("row").filter(has_text="quay-1")).to_be_visible()


def test_a_target_is_written_and_its_failing_test_is_told(console: Console) -> None:
    screen = console.screen("ada", "/alert-targets")
    page = screen.page
    page.get_by_role("button", name="Add webhook").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("hook")
    dialog.get_by_label("Document").fill('{"kind": "webhook", "url": "nonsense"}')
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("is expected").first).to_be_visible()
    dialog.get_by_label("Document").fill('{"kind": "webhook", "url": "http://127.0.0.1:9/hook"}')
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text="hook")
    row.get_by_role("button", name="Test").click()
    expect(page.get_by_text("Look at its address and secrets.")).to_be_visible()
    screen.go("/alert-rules")
    expect(page.get_by_role("row").filter(has_text="cameras")).to_contain_text("camera-*")


def test_a_viewer_reads_alerts_and_changes_none(console: Console) -> None:
    screen = console.screen("vera", "/alerts")
    row = screen.page.get_by_role("row").filter(has_text="quay-1")
    expect(row.get_by_role("button", name="Acknowledge")).to_be_disabled()
    screen.go("/alert-targets")
    expect(screen.page.get_by_role("button", name="Add webhook")).to_be_disabled()
