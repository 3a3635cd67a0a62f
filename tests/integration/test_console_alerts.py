"""The pages of alerts in a real browser: a camera is lost, somebody cares, somebody is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.integration.console_device import SimulatedDevice, health
from tests.integration.console_stand import PHONE, Console, needs_browser, patient
from tests.integration.fleet_stand import eventually, package

LONG_S = 90.0
pytestmark = [needs_browser, patient]


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


def test_a_target_is_written_by_keyboard_and_its_failing_test_is_told(console: Console) -> None:
    screen = console.screen("ada", "/alert-targets", PHONE)
    page = screen.page
    page.get_by_role("button", name="New target").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name")).to_be_focused()
    page.keyboard.type("night shift")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name="Mail").wait_for()
    while (
        page.locator(".q-item[aria-selected=true], .q-item.q-manual-focusable--focused").last.inner_text()
        != "Mail"
    ):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Mail server")).to_be_visible()
    assert screen.overflow_px() == 0
    dialog.get_by_label("To", exact=True).fill("team@example.org, nobody")
    dialog.get_by_role("button", name="Save", exact=True).click()
    for name in ("Mail server", "From"):
        field = dialog.locator(".q-field").filter(has=page.get_by_label(name, exact=True))
        expect(field.get_by_role("alert")).to_contain_text("Expected: ")
    expect(dialog.locator(".q-field").filter(has=page.get_by_label("To", exact=True))).to_contain_text(
        "NAME@HOST"
    )
    expect(dialog.locator(".q-field").filter(has=page.get_by_label("Name"))).to_contain_text(
        "letters, digits"
    )
    dialog.get_by_label("Name").fill("night-shift")
    dialog.get_by_label("Mail server").fill("127.0.0.1")
    dialog.get_by_label("Port").fill("9")
    dialog.get_by_label("From", exact=True).fill("outrider@example.org")
    dialog.get_by_label("To", exact=True).fill("team@example.org, boss@example.org")
    dialog.get_by_role("button", name="Save and test").click()
    expect(page.get_by_text("Look at its address and secrets.")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    (written,) = console.ask("GET", "/alert-targets")["items"]
    assert written["target"]["to"] == ["team@example.org", "boss@example.org"]
    row = page.get_by_role("row").filter(has_text="night-shift")
    row.get_by_role("button", name="Change").click()
    dialog.get_by_role("checkbox", name="In use").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(row.get_by_text("off", exact=True)).to_be_visible()
    row.get_by_role("button", name="Test").click()
    expect(page.get_by_text("Look at its address and secrets.").last).to_be_visible()
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Nobody is told yet")).to_be_visible()


def test_a_chat_is_changed_without_its_secret_address_and_a_secret_that_is_missing_is_told(
    console: Console,
) -> None:
    chat = {"kind": "slack", "url": "https://chat.example/T0/B0"}
    console.ask("PUT", "/alert-targets/chat", chat)
    page = console.screen("ada", "/alert-targets").page
    row = page.get_by_role("row").filter(has_text="chat")
    row.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Address")).to_have_value("https://chat.example/***")
    dialog.get_by_label("Address").fill("secret:chat-url")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.locator(".q-field").filter(has=page.get_by_label("Address"))).to_contain_text(
        "no secret is called 'chat-url'"
    )
    dialog.get_by_label("Address").fill("https://chat.example/***")
    dialog.get_by_role("combobox", name="Is told of what is").click()
    page.get_by_role("option", name="critical alone").click()
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(row).to_contain_text("critical")
    console.ask("DELETE", "/alert-targets/chat")


def test_a_rule_is_written_changed_and_removed(console: Console) -> None:
    page = console.screen("ada", "/alert-rules").page
    expect(page.get_by_role("row").filter(has_text="cameras")).to_contain_text("camera-*")
    page.get_by_role("button", name="New rule").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("slow")
    dialog.get_by_role("combobox", name="Tells of").click()
    page.get_by_role("option", name="a figure past a limit").click()
    expect(dialog.get_by_label("Codes", exact=True)).to_be_hidden()
    dialog.get_by_label("After it has lasted").fill("a while")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("e.g. 90 s, 10 min, 4 h").first).to_be_visible()
    dialog.get_by_label("After it has lasted").fill("10 min")
    dialog.get_by_role("button", name="Save").click()
    limit = dialog.locator(".q-field").filter(has=page.get_by_label("This limit"))
    expect(limit.get_by_role("alert")).to_have_text("One of above and below is expected")
    dialog.get_by_label("This limit").fill("0.3")
    dialog.get_by_label("Sites", exact=True).fill("north*")
    dialog.get_by_label("Labels").fill("line in")
    dialog.get_by_role("button", name="Save").click()
    labels = dialog.locator(".q-field").filter(has=page.get_by_label("Labels"))
    expect(labels.get_by_role("alert")).to_contain_text("line in")
    dialog.get_by_label("Labels").fill("line in (1, 2)")
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text="slow")
    expect(row).to_contain_text("blind share above 0.3 over 1 h")
    expect(row).to_contain_text("sites north*; labels line in (1, 2)")
    row.get_by_role("button", name="Change").click()
    dialog.get_by_role("combobox", name="Tells of").click()
    page.get_by_role("option", name="faults").click()
    dialog.get_by_role("combobox", name="Add to codes").fill("camera-hung")
    page.get_by_role("option", name="camera-hung").click()
    expect(dialog.get_by_label("Codes", exact=True)).to_have_value("camera-hung")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("info or worse: camera-hung")
    written = next(r for r in console.ask("GET", "/alert-rules")["items"] if r["name"] == "slow")["rule"]
    assert (written["for_s"], written["limit"], written["sites"]) == (600, None, ["north*"])
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


def test_a_viewer_reads_alerts_and_changes_none(console: Console) -> None:
    screen = console.screen("vera", "/alerts")
    row = screen.page.get_by_role("row").filter(has_text="quay-1")
    expect(row.get_by_role("button", name="Acknowledge")).to_be_disabled()
    screen.go("/alert-targets")
    expect(screen.page.get_by_role("button", name="New target")).to_be_disabled()


def saw(digest: str, scores: list[int]) -> dict[str, Any]:
    """A camera's health after its model has found so many, by tenths of confidence."""
    told = health(12.0, 50.0, lost=False)
    found = sum(scores)
    sight = {"asked": found, "empty": 0, "scores": scores, "classes": {"person": found}}
    told["cameras"] = {"door": {**told["cameras"]["door"], "models": {"people": digest}, "sight": sight}}
    told["models"]["people"]["digest"] = digest
    return told


def test_confidences_that_shift_become_a_drift_a_fault_an_alert_and_are_on_the_models_page(
    console_plane: Console,
) -> None:
    """Days pass by moving what is kept of today into the past."""
    stand = console_plane.stand
    post: dict[str, Any] = {
        "timeout": 60,
        "content": package("kiln"),
        "headers": {"Authorization": f"Bearer {stand.admin_token}"},
    }
    digest = httpx.post(f"{stand.url}/api/v1/models", **post).json()["digest"]
    console_plane.ask("PUT", "/alert-rules/drift", {"codes": ["drift-large"], "for_s": 0, "place": 2})
    calm, shifted = [0] * 8 + [100, 400], [300, 200] + [0] * 6 + [100, 400]
    with SimulatedDevice(stand, "kiln-1", {"site": "south"}) as device:
        device.report(models={"people": {"state": "ok", "digest": digest}})
        device.publish(device.topics.health, saw(digest, calm))
        drift = "/devices/kiln-1/drift"
        eventually(
            lambda: [d["recent"]["detections"] for d in console_plane.ask("GET", drift)["items"]] == [500]
        )
        with closing(sqlite3.connect(stand.data.root / "fleet.db", timeout=30)) as database, database:
            database.execute("UPDATE health_sights SET day = day - 5 WHERE device = 'kiln-1'")

        def told(path: str) -> Any:
            """What is there after one more message, as devices send them again and again."""
            device.publish(device.topics.health, saw(digest, shifted))
            return console_plane.ask("GET", path)["items"]

        eventually(lambda: any((d["score_psi"] or 0) > 0.25 for d in told(drift)), LONG_S)
        (figures,) = told(drift)
        assert figures["class_psi"] < 0.1
        assert figures["recent"]["confidence"] < 0.2 < 0.8 < figures["reference"]["confidence"]
        eventually(lambda: any(d["device"] == "kiln-1" and d["score_psi"] for d in told("/drift")), LONG_S)
        faults = "/faults?selector=site=south"
        eventually(lambda: [f["code"] for f in told(faults)] == ["drift-large"], LONG_S)
        eventually(lambda: told("/alerts?device=kiln-1"), LONG_S)


def test_drift_is_on_the_models_page(console: Console) -> None:
    screen = console.screen("vera", "/models/kiln", PHONE)
    row = screen.page.get_by_role("table", name="Drift").get_by_role("row").filter(has_text="kiln-1")
    expect(row.get_by_text("large")).to_be_visible()
    expect(row).to_contain_text("→")
    assert screen.overflow_px() == 0
    screen.go("/alerts")
    expect(screen.page.get_by_role("row").filter(has_text="kiln-1")).to_contain_text(
        "population stability index of confidences"
    )
