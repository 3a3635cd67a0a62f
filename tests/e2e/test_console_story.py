"""What the console is for, in one go: a real browser, a real control plane and broker, two real agents with a camera each.

Devices are enrolled, a model is uploaded, a line drawn on the camera's picture, the workflow tried and released, rolled out to a canary and
on; a bad model is stopped at the canary and taken back, and the alert about it acknowledged. With OUTRIDER_SCREENSHOTS=FOLDER every page on the way is kept as a picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from fleet.client import pack
from tests.e2e.conftest import MODEL_ID, VIDEO
from tests.e2e.test_update_gates import blinded
from tests.integration.agent_process import AgentProcess
from tests.integration.console_stand import PHONE, Console, Screen, needs_browser
from tests.integration.fleet_stand import ROOT, eventually

pytestmark = [needs_browser, pytest.mark.long, pytest.mark.usefixtures("mosquitto")]
COUNTING = ROOT / "examples" / "workflows" / "line_count.json"
UPDATE = {"shadow_s": 0, "probation_s": 2, "gates": {"min_frames": 60}}
SLOW_MS = 180_000
DEVICES = ("door-1", "door-2")
RULE = {"codes": ["update-failed"], "for_s": 0, "resolve_s": 3600, "place": 1}
"""Somebody is told of a failed update at once, and it stays on the list though the device went back by itself."""
PHOTOGRAPHS = ("console-drawing", "console-trial")


def shot(screen: Screen, name: str, *, full: bool = False) -> None:
    """Keep what is seen, where somebody wants it."""
    folder = os.environ.get("OUTRIDER_SCREENSHOTS")
    if folder:
        if full:
            screen.page.evaluate("window.scrollTo(0, 0)")
        screen.page.wait_for_timeout(700)
        file = Path(folder) / f"{name}.png"
        screen.page.screenshot(path=file, full_page=full)
        with Image.open(file) as image:
            if name in PHOTOGRAPHS:
                image.convert("RGB").save(file.with_suffix(".webp"), quality=80)
                file.unlink()
            else:
                image.convert("RGB").quantize(128).save(file, optimize=True)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path / "plane", {"faults": {"every_s": 1, "sights_every_s": 1}}, scripted=False)
    made.ask("PUT", "/alert-rules/updates", RULE)
    yield made
    made.close()


@pytest.fixture
def agents(console: Console, tmp_path: Path) -> Iterator[list[AgentProcess]]:
    """Enrolled, labelled and running; with nothing to do yet."""
    made = []
    try:
        for name in DEVICES:
            agent = AgentProcess(tmp_path / name, name)
            done = agent.outrider(
                "enroll", console.stand.url, token_of(console.screen("ada", "/devices"), name)
            )
            assert done.returncode == 0, done.stderr
            agent.start()
            made.append(agent)
        yield made
    finally:
        for agent in made:
            agent.stop()


def token_of(screen: Screen, name: str) -> str:
    """The one-time token in the command that the console makes for a new device."""
    page = screen.page
    page.get_by_role("button", name="Add a device").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.get_by_role("dialog").get_by_label("Labels").fill(f"site=lyon, gate={name[-1]}")
    page.get_by_role("button", name="Make the command").click()
    command = page.locator(".command code")
    expect(command).to_contain_text("outrider agent enroll")
    return command.inner_text().split()[-1]


@pytest.fixture
def sees_nothing(packages: dict[str, Path], assets: Path, tmp_path: Path) -> Path:
    """A package that is sound in itself and finds nobody."""
    from outrider.demo.stage import outrider

    graph = next(packages["nanodet_m_320"].glob("*.onnx"))
    golden = next((assets / "images" / "coco_val_ccby" / "val2017").glob("*397133.jpg"))
    blind = blinded(graph, tmp_path / "blind.onnx")
    outrider(
        "model", "pack", str(blind), "--family", "nanodet", "--labels", "coco80",
        "--golden", str(golden), "--out", str(tmp_path / "blind"),
    )  # fmt: skip
    return tmp_path / "blind"


def wanted(video: Path) -> dict[str, Any]:
    return {
        "cameras": {
            "entrance": {
                "source": str(video),
                "pace": "realtime",
                "loop": True,
                "privacy": {"pictures": "fleet"},
            }
        },
        "models": {"people": "people-detector"},
        "workflows": {"count": "line-count"},
        "pipelines": {
            "entrance": {"camera": "entrance", "workflow": "count", "models": {MODEL_ID: "people"}}
        },
        "settings": {"health_s": 1, "update": UPDATE},
    }


def upload(screen: Screen, folder: Path, name: str, archive: Path) -> None:
    with archive.open("wb") as file:
        pack(folder, file)
    page = screen.go("/models")
    page.locator("input[type=file]").set_input_files(archive)
    page.get_by_label("Name in the registry").fill(name)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible(timeout=60_000)


def shorten(page: Page) -> None:
    """One canary that soaks for two seconds, then everybody."""
    for left in (3, 2):
        page.get_by_role("group", name="Wave 2").get_by_role("button", name="Remove").click()
        expect(page.get_by_role("group", name=re.compile("Wave"))).to_have_count(left)
    for wave, soak in ((1, "2"), (2, "0")):
        page.get_by_role("group", name=f"Wave {wave}").get_by_label("Soaks for, s").fill(soak)


def begin(screen: Screen, path: str) -> Page:
    page = screen.go(path)
    page.get_by_label("Devices with these labels").fill("site=lyon")
    page.get_by_label("First, the canaries").fill("door-1")
    shorten(page)
    said = page.locator("[aria-label='What the control plane says']")
    expect(said).to_contain_text("Reaches 2 devices, by waves: 1 → 2.")
    expect(said).to_contain_text("First: door-1")
    expect(said).to_contain_text("Nothing is in its way.")
    return page


@pytest.mark.timeout(900)
def test_a_line_is_drawn_released_rolled_out_and_a_bad_model_is_stopped(
    console: Console,
    agents: list[AgentProcess],
    packages: dict[str, Path],
    sees_nothing: Path,
    assets: Path,
    tmp_path: Path,
) -> None:
    screen = console.screen("ada")
    upload(screen, packages["yolox_nano_416"], "people-detector", tmp_path / "one.tar")
    with console.stand.client() as client:
        client.upload_workflow(COUNTING, "line-count")
        for name in DEVICES:
            client.set_desired(name, wanted(assets / VIDEO))
        for name in DEVICES:
            eventually(lambda n=name: (client.device(n)["reported"] or {}).get("phase") == "COMMITTED", 180)
    draw_and_release(console, screen)
    roll_out(console, screen)
    upload(screen, sees_nothing, "people-detector", tmp_path / "two.tar")
    see_it_stopped(console, screen)
    acknowledge(screen)
    tour(console)


def draw_and_release(console: Console, screen: Screen) -> None:
    page = screen.go("/workflow-draft?name=line-count")
    expect(page.locator(".page-head .chip.ok")).to_have_text("fine")
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(
        COUNTING.read_text().replace(
            "$steps.tracker.tracked_detections", "$steps.trcker.tracked_detections", 1
        )
    )
    expect(page.locator(".editor-problem")).to_contain_text("did you mean 'tracker'?")
    page.locator(".editor-problem").click()
    expect(page.locator(".cm-line.line-bad")).to_be_in_viewport()
    shot(screen, "console-problems")
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(COUNTING.read_text())
    expect(page.locator(".page-head .chip.ok")).to_have_text("fine")
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator(".drawing-stage img")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("door-1, entrance: 768 by 432 pixels")).to_be_visible()
    page.get_by_role("button", name="Draw anew").click()
    stage = page.locator(".drawing-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 8)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 7 / 8)
    page.mouse.up()
    expect(page.get_by_role("button", name="Point 2 of line, x 384, y 378")).to_be_visible()
    shot(screen, "console-drawing")
    page.get_by_role("button", name="Try on the snapshot").click()
    expect(page.locator(".trial-told")).to_contain_text("count_in", timeout=60_000)
    page.locator(".trial-seen").scroll_into_view_if_needed()
    shot(screen, "console-trial")
    page.get_by_role("button", name="Release…").click()
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.locator(".page-head .chip.info")).to_have_text("version 2")
    released = console.ask("GET", "/registry/workflow/line-count/versions/2/definition")
    assert released["inputs"][2]["default_value"] == [[384, 54], [384, 378]]


def roll_out(console: Console, screen: Screen) -> None:
    page = begin(screen, "/rollout-draft?workflow=line-count@2")
    shot(screen, "console-rollout-new", full=True)
    page.get_by_role("button", name="Begin rollout").click()
    row = page.get_by_role("table", name="Devices").get_by_role("row")
    expect(row.filter(has_text="door-1").get_by_text("done")).to_be_visible(timeout=SLOW_MS)
    shot(screen, "console-rollout")
    expect(page.locator(".page-head .chip")).to_have_text("done", timeout=SLOW_MS)
    expect(row.filter(has_text="door-2").get_by_text("done")).to_be_visible(timeout=SLOW_MS)
    for name in DEVICES:
        document = console.ask("GET", f"/devices/{name}/desired")["document"]
        assert document["workflows"]["count"]["version"] == "line-count@2"


def see_it_stopped(console: Console, screen: Screen) -> None:
    before = console.ask("GET", "/devices/door-2/desired")["revision"]
    page = begin(screen, "/rollout-draft?model=people-detector@2")
    page.get_by_role("button", name="Begin rollout").click()
    expect(page.locator(".page-head .chip")).to_have_text("rolled back", timeout=SLOW_MS)
    expect(page.locator(".judged")).to_contain_text("1 of 1 devices failed")
    expect(
        page.get_by_role("table", name="Devices").get_by_role("row").filter(has_text="door-1")
    ).to_contain_text(re.compile("returned.*empty-output"))
    shot(screen, "console-rollout-stopped", full=True)
    assert console.ask("GET", "/devices/door-2/desired")["revision"] == before, (
        "the bad model reached no more than the canary"
    )
    reported = console.ask("GET", "/devices/door-1")["reported"]
    assert reported["phase"] in ("COMMITTED", "IDLE", "ROLLED_BACK")
    document = console.ask("GET", "/devices/door-1/desired")["document"]
    assert document["models"]["people"]["version"] == "people-detector@1"


def acknowledge(screen: Screen) -> None:
    page = screen.go("/alerts")
    row = page.get_by_role("row").filter(has_text="door-1")
    expect(row.get_by_text("firing")).to_be_visible()
    row.get_by_role("button", name="Acknowledge").click()
    page.get_by_label("Note for the others").fill("the model sees nobody; it is trained again")
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    expect(row.get_by_text("ada cares")).to_be_visible()


def tour(console: Console) -> None:
    """Every page at a phone's width in the dark, and the others as they are shown in the documentation."""
    phone = console.screen("vera", "/workflows/line-count?version=2", PHONE, "dark")
    expect(phone.page.locator(".graph .figure").first).to_have_text(re.compile("µs|ms"))
    shot(phone, "console-workflow-phone")
    for path in (
        "/models",
        "/models/people-detector",
        "/workflows",
        "/rollouts",
        "/rollouts/people-detector-v2",
        "/workflow-draft?name=line-count",
    ):
        phone.go(path)
        assert phone.overflow_px() == 0, path
    phone.go("/rollouts/people-detector-v2")
    shot(phone, "console-rollout-phone")
    screen = console.screen("ada", "/workflows/line-count?version=2")
    expect(screen.page.locator(".graph .figure").first).to_be_visible()
    shot(screen, "console-workflow", full=True)
    for path, name in (
        ("/models", "console-models"),
        ("/models/people-detector?version=1", "console-model"),
        ("/workflows", "console-workflows"),
        ("/rollouts", "console-rollouts"),
    ):
        screen.go(path)
        shot(screen, name, full=True)
    dark = console.screen("ada", "/workflow-draft?name=line-count&version=2", scheme="dark")
    expect(dark.page.locator(".page-head .chip.ok")).to_have_text("fine")
    shot(dark, "console-draft")
