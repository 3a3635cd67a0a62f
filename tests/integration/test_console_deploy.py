"""Models, workflows and rollouts in a real browser, over the real runtime: uploaded, edited, drawn on, tried, released, rolled out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from fleet.client import pack
from tests.integration.console_device import SimulatedDevice
from tests.integration.console_stand import PHONE, Console, needs_browser, patient
from tests.integration.fleet_stand import ROOT

pytestmark = [needs_browser, patient, pytest.mark.usefixtures("mosquitto")]
COUNTING = json.loads((ROOT / "examples" / "workflows" / "line_count.json").read_text())
PICTURE = "images/coco_val_ccby/val2017"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("deploy") / "plane", scripted=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def archive(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as people upload it."""
    path = tmp_path_factory.mktemp("archives") / "yolox.tar"
    with path.open("wb") as file:
        pack(packages["yolox_nano_416"], file)
    return path


@pytest.fixture(scope="module")
def two_versions(console: Console) -> str:
    """The name of a workflow with two versions, which differ in their outputs."""
    headers = {"Authorization": f"Bearer {console.stand.admin_token}"}
    for outputs in (COUNTING["outputs"], COUNTING["outputs"][:2]):
        content = json.dumps({**COUNTING, "outputs": outputs}).encode()
        url = f"{console.stand.url}/api/v1/workflows?name=line-count"
        assert httpx.post(url, content=content, headers=headers, timeout=60).status_code == 201
    return "line-count"


def test_a_model_is_uploaded_checked_and_shown(console: Console, archive: Path, tmp_path: Path) -> None:
    screen = console.screen("ada", "/models")
    page = screen.page
    expect(page.get_by_text("No models yet")).to_be_visible()
    broken = tmp_path / "broken.tar"
    broken.write_bytes(archive.read_bytes()[:300_000])
    page.locator("input[type=file]").set_input_files(broken)
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".problem")).to_contain_text("not a complete .tar")
    page.locator("input[type=file]").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="yolox_nano_416")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text("detection")
    expect(page.get_by_text("Nothing was measured yet")).to_be_visible()
    page.get_by_role("button", name="Alias…").click()
    page.get_by_role("button", name="Point it here").click()
    expect(page.locator(".page-head").get_by_text("production")).to_be_visible()
    page.get_by_role("button", name="Edit notes").click()
    page.get_by_label("Words").fill("Street scenes, day and night.")
    page.get_by_label("Figures, one a line").fill("map=0.258")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".figures")).to_contain_text("0.258")


def test_an_onnx_file_is_packed_and_what_is_wrong_with_a_wish_is_said(console: Console, assets: Path) -> None:
    page = console.screen("ada", "/models", PHONE).page
    page.locator("input[type=file]").set_input_files(assets / "detectors" / "yolox_nano_416.onnx")
    page.get_by_label("Name in the registry").fill("bare")
    page.get_by_label("Family").select_option("classifier")
    expect(page.get_by_text("classifier expects: ")).to_be_visible()
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".problem")).to_contain_text("the graph's outputs are")
    page.get_by_label("Family").select_option("recognise it")
    page.get_by_label("Labels").fill("coco80")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="bare")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("Recognised")
    expect(page.locator(".figures")).to_contain_text("yolox")


def test_a_workflow_is_corrected_drawn_on_tried_and_released(console: Console, assets: Path) -> None:
    content = json.dumps(
        {
            **COUNTING,
            "steps": [
                {**s, **({"detections": "$steps.trcker.tracked_detections"} if s["name"] == "line" else {})}
                for s in COUNTING["steps"]
            ],
        }
    )
    screen = console.screen("ada", "/workflow-draft")
    page = screen.page
    expect(page.get_by_text("No problems: the runtime takes it.")).to_be_visible()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(content)
    problems = page.locator(".editor-problem")
    expect(problems).to_contain_text("steps.line.detections")
    expect(problems).to_contain_text("did you mean 'tracker'?")
    expect(page.locator('.node.bad[data-node="steps.line"]')).to_be_visible()
    expect(page.locator(".page-head .chip.bad")).to_have_text("1 problem")

    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(json.dumps(COUNTING))
    expect(page.locator(".page-head .chip.ok")).to_have_text("fine")
    draw_line(page, (0.25, 0.5), (0.75, 0.9))
    expect(page.get_by_role("button", name="Point 1 of line, x 320, y 360")).to_be_visible()
    page.get_by_role("button", name="Point 2 of line").focus()
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_role("button", name="Point 2 of line, x 950, y 648")).to_be_visible()

    picture = next((assets / PICTURE).glob("*397133.jpg"))
    page.locator(".trial input[type=file]").set_input_files(picture)
    page.get_by_role("button", name="Try on this file").click()
    expect(page.locator(".trial-told")).to_contain_text("person", timeout=60_000)
    expect(page.locator(".trial-seen img")).to_be_visible()
    expect(page.locator('[data-node="steps.tracker"] .figure')).to_have_text(re.compile("µs|ms"))

    page.get_by_role("button", name="Release…").click()
    page.get_by_label("Name", exact=True).fill("counting")
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.get_by_role("heading", name="counting")).to_be_visible()
    assert console.ask("GET", "/registry/workflow/counting/versions/1/definition")["inputs"][2][
        "default_value"
    ] == [[320, 360], [950, 648]]


def draw_line(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, in shares of the stage."""
    page.get_by_role("button", name="Draw anew").click()
    stage = page.locator(".drawing-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * start[0], box["y"] + box["height"] * start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.mouse.move(box["x"] + box["width"] * end[0], box["y"] + box["height"] * end[1])
    page.mouse.up()


def test_two_versions_are_compared_and_all_fits_a_phone(console: Console, two_versions: str) -> None:
    """Also while the fonts are still to come: an icon is its name in letters then."""
    screen = console.screen("vera", "/account", PHONE, "dark")
    screen.page.route("**/*.woff2", lambda route: route.fulfill(status=404))
    screen.go(f"/workflows/{two_versions}")
    expect(screen.page.locator(".diff")).to_contain_text("output picture")
    expect(screen.page.locator(".graph")).to_be_visible()
    assert screen.overflow_px() == 0
    for path in (
        "/workflows",
        "/models",
        "/models/yolox_nano_416",
        "/rollouts",
        "/rollout-draft",
        "/workflow-draft?name=line-count",
    ):
        screen.go(path)
        assert screen.overflow_px() == 0, path


def test_a_rollout_is_previewed_begun_paused_and_rolled_back(console: Console, two_versions: str) -> None:
    for name in ("gate-1", "gate-2", "yard-1"):
        console.stand.enrol(name)
        console.ask("PUT", f"/devices/{name}/labels", {"labels": {"site": name[:4]}})
        console.ask("PUT", f"/devices/{name}/desired", {"models": {"people": "yolox_nano_416"}})
    screen = console.screen("ada", f"/rollout-draft?workflow={two_versions}@2")
    page = screen.page
    said = page.locator("[aria-label='What the control plane says']")
    selector = page.get_by_label("Devices with these labels")
    selector.fill("site=gate")
    expect(page.get_by_text("2 devices match, 0 of them online: gate-1, gate-2")).to_be_visible()
    selector.fill("site=")
    expect(page.get_by_text("site=").last).to_be_visible()
    selector.fill("site=gate")
    name = page.get_by_label("Called on the device").nth(1)
    name.fill("count")
    name.press("Enter")
    expect(said).to_contain_text("Nothing is in its way.")
    expect(said).to_contain_text("Reaches 2 devices, by waves: 1 → 1 → 1 → 2.")
    page.get_by_role("button", name="Begin rollout").click()
    expect(page.get_by_role("heading", name="line-count-v2")).to_be_visible()
    expect(page.get_by_role("table", name="Gates").get_by_role("row")).to_have_count(5)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".page-head .chip")).to_have_text("paused")
    page.get_by_role("button", name="Abort and roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator(".page-head .chip")).to_have_text("paused")
    page.get_by_role("button", name="Abort and roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Abort and roll back").click()
    expect(page.locator(".page-head .chip")).to_have_text(re.compile("rolling back|rolled back"))
    watched = console.screen("vera", "/rollouts")
    expect(watched.page.get_by_role("button", name="New rollout")).to_be_disabled()
    expect(watched.page.get_by_role("link", name="line-count-v2")).to_be_visible()


def test_a_zone_is_drawn_on_a_snapshot_and_kept_for_one_camera(console: Console, two_versions: str) -> None:
    wanted = {
        "cameras": {"door": {"source": "rtsp://10.0.0.7/main"}},
        "models": {"people": "yolox_nano_416"},
        "workflows": {"count": f"{two_versions}@1"},
        "pipelines": {"door": {"camera": "door", "workflow": "count", "models": {"people/1": "people"}}},
    }
    with SimulatedDevice(console.stand, "quay-7", {"site": "quay"}) as device:
        device.tell()
        console.ask("PUT", "/devices/quay-7/desired", wanted)
        page = console.screen("ada", "/workflow-draft").page
        expect(page.get_by_text("No problems: the runtime takes it.")).to_be_visible()
        page.locator(".cm-content").click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text((ROOT / "examples" / "workflows" / "time_in_zone.json").read_text())
        expect(page.locator(".drawing-tools").get_by_role("button", name="zone")).to_be_visible()
        page.get_by_role("button", name="Take a snapshot").click()
        expect(page.get_by_text("quay-7, door: 640 by 360 pixels")).to_be_visible()
        draw_zone(page, ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)))
        expect(page.get_by_role("button", name="Point 3 of zone, x 480, y 270")).to_be_visible()
        page.get_by_role("button", name="Keep for this camera alone…").click()
        page.get_by_role("dialog").get_by_role("button", name="Keep").click()
        expect(page.get_by_text("quay-7 is told")).to_be_visible()
    document = console.ask("GET", "/devices/quay-7/desired")["document"]
    assert document["pipelines"]["door"]["parameters"] == {
        "zone": [[160, 90], [480, 90], [480, 270], [160, 270]]
    }
    assert document["models"]["people"]["version"] == "yolox_nano_416@1"


def draw_zone(page: Page, corners: tuple[tuple[float, float], ...]) -> None:
    """Corner by corner, and the first one again."""
    page.get_by_role("button", name="Draw anew").click()
    stage = page.locator(".drawing-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    for x, y in (*corners, corners[0]):
        page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)


def test_a_line_is_drawn_with_a_finger(console: Console) -> None:
    screen = console.screen("ada", "/workflow-draft", PHONE, touch=True)
    page = screen.page
    expect(page.get_by_text("No problems: the runtime takes it.")).to_be_visible()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(json.dumps(COUNTING))
    expect(page.locator(".page-head .chip.ok")).to_have_text("fine")
    page.get_by_role("button", name="Draw anew").tap()
    stage = page.locator(".drawing-stage")
    stage.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    box = stage.bounding_box()
    assert box is not None
    at = [
        (box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        for x, y in ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75))
    ]
    screen.swipe(*at)
    first = page.get_by_role("button", name="Point 1 of line")
    expect(first).to_have_attribute("aria-label", re.compile("x 3[12][0-9], y (1[78]|18)[0-9]"))
    expect(page.get_by_role("button", name="Point 2 of line")).to_have_attribute(
        "aria-label", re.compile("x 9[56][0-9], y 5[34][0-9]")
    )
    screen.swipe(at[0], (at[0][0] + 10, at[0][1]), (at[0][0] + 30, at[0][1]))
    expect(first).to_have_attribute("aria-label", re.compile("x 4[0-9][0-9], y 1[78][0-9]"))
    assert page.evaluate("scrollY") == before, "the page went along with the finger"
