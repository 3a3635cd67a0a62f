"""The pictures of docs/console.md: a small fleet made up, every page looked at in light, some in dark and at a phone's width.

python -m tests.integration.console_pictures docs/images [PAGE …]
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import sin
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect

from fleet.db import Database
from fleet.health.figures import figures, packed
from fleet.health.tables import HealthRow
from tests.integration.console_device import SimulatedDevice, health
from tests.integration.console_stand import DESKTOP, PHONE, Console
from tests.integration.fleet_stand import eventually
from wire.doc import read
from wire.health import Health

MOST_BYTES = 120 * 1024
SITES = {"north": ("gate-1", "gate-2", "gate-3"), "south": ("lane-1", "lane-2"), "harbour": ("dock-1",)}
HOURS = 6
TARGETS = {
    "night-shift": {
        "kind": "email",
        "host": "mail.example.org",
        "username": "outrider",
        "sender": "outrider@example.org",
        "to": ["night@example.org", "plant@example.org"],
        "min_severity": "critical",
    },
    "operations": {"kind": "slack", "url": "https://chat.example.org/hooks/x3b9"},
    "scada": {"kind": "mqtt", "topic": "plant/alerts", "url": "mqtts://scada.example.org:8883"},
}
QUICK = {
    code: {"visible_s": 0, "clear_s": 5} for code in ("camera-unreachable", "device-offline", "update-failed")
}


@dataclass(frozen=True)
class Shot:
    """A page, what it is called, and what is done there before the picture is taken."""

    name: str
    path: str
    press: str = ""
    also: tuple[str, ...] = ()


SHOTS = (
    Shot("overview", "/", also=("dark", "phone")),
    Shot("devices", "/devices"),
    Shot("add-device", "/devices", "Add a device"),
    Shot("device", "/devices/gate-1", also=("dark", "phone")),
    Shot("camera", "/devices/gate-1/cameras/door", "Take a picture"),
    Shot("health", "/devices/gate-1/health"),
    Shot("state", "/devices/gate-1/state"),
    Shot("logs", "/devices/gate-1/logs", "Read"),
    Shot("care", "/devices/gate-1/care"),
    Shot("events", "/events"),
    Shot("alerts", "/alerts"),
    Shot("faults", "/faults"),
    Shot("alert-rules", "/alert-rules"),
    Shot("alert-rule", "/alert-rules", "Change", also=("phone",)),
    Shot("alert-targets", "/alert-targets"),
    Shot("alert-target", "/alert-targets", "Change", also=("dark", "phone")),
    Shot("upload", "/models"),
    Shot("audit", "/audit"),
    Shot("tokens", "/tokens"),
    Shot("users", "/users"),
)


def fill(console: Console, stack: ExitStack) -> None:
    """Devices at three sites: most are well, one has lost a camera, one is away, one has gone back from an update."""
    made = {}
    for site, names in SITES.items():
        for name in names:
            labels = {"site": site, "line": name[-1]}
            made[name] = stack.enter_context(SimulatedDevice(console.stand, name, labels))
            made[name].report()
            made[name].tell(lost=name == "gate-1", celsius=51.0 + len(name))
            for seq in range(4):
                made[name].event("door", 3 + seq, f"{name}-{seq}")
    console.ask("PUT", "/alert-rules/cameras", {"codes": ["camera-*"], "for_s": 0, "place": 1})
    console.ask("PUT", "/alert-rules/critical", {"min_severity": "critical", "for_s": 0, "place": 2})
    for name, target in TARGETS.items():
        console.ask("PUT", f"/alert-targets/{name}", target)
    made["gate-1"].report("PROBATION")
    made["lane-2"].report("ROLLED_BACK", "gate-failed", "p95 latency 91 ms against a limit of 60 ms")
    made["dock-1"].publish(made["dock-1"].topics.conn, {"state": "offline"}, retain=True)
    desired = {
        "cameras": {"door": {"source": "rtsp://10.0.0.7/main"}, "yard": {"source": "rtsp://10.0.0.8/main"}}
    }
    console.ask("PUT", "/devices/gate-1/desired", desired)
    console.person("nora", "approver", "site in (north, harbour)")
    console.ask("POST", "/tokens", {"name": "grafana", "role": "viewer", "lifetime_days": 90})
    console.ask("POST", "/enrolment-tokens", {"device": "dock-2", "labels": {"site": "harbour"}})
    past(console)


def past(console: Console) -> None:
    """Some hours of health of gate-1, a message a minute, as if it had been told then."""
    database = Database(console.stand.data.database_url(console.stand.config))
    now_wall = time.time()
    with database.write() as session:
        for minute in range(HOURS * 60, 0, -1):
            at = now_wall - minute * 60
            told = health(12 + 2 * sin(minute / 40), 54 + 4 * sin(minute / 90), minute < 50)
            told["host"]["cpu_percent"] = 38 + 14 * sin(minute / 55) + minute % 7
            told["cameras"]["door"]["latency_p95_ms"] = 46 + 6 * sin(minute / 30) + minute % 5
            session.add(
                HealthRow(
                    device="gate-1",
                    at=at,
                    received_at=at,
                    revision=3,
                    figures=packed(figures(read(Health, told))),
                )
            )
    database.close()


def shoot(page: Page, shot: Shot, file: Path, whole: bool = True) -> None:
    if shot.press:
        page.get_by_role("button", name=shot.press).first.click()
    if shot.name == "camera":
        expect(page.get_by_role("img", name="Picture of door")).to_be_visible()
    if shot.name == "add-device":
        page.get_by_role("dialog").get_by_label("Name").fill("dock-3")
        page.get_by_role("dialog").get_by_label("Labels").fill("site=harbour")
        page.get_by_role("button", name="Make the command").click()
        expect(page.locator(".command code")).to_be_visible()
    if shot.name == "upload":
        graph = {"name": "forklifts.onnx", "mimeType": "application/octet-stream", "buffer": b"0" * 3_900_000}
        page.locator("input[type=file]").set_input_files(graph)
        page.get_by_label("Family").select_option("yolox")
        page.get_by_label("Labels").fill("person, forklift, pallet")
    page.wait_for_timeout(1500)
    page.screenshot(path=file, full_page=whole)
    with Image.open(file) as image:
        image.convert("RGB").quantize(128).save(file, optimize=True)
    assert file.stat().st_size <= MOST_BYTES, f"{file} has {file.stat().st_size} bytes"


def main(arguments: list[str]) -> None:
    folder, wanted = Path(arguments[0]), set(arguments[1:])
    with TemporaryDirectory() as root, ExitStack() as stack:
        console = Console(Path(root) / "plane", {"faults": {"every_s": 1, "kinds": QUICK}})
        stack.callback(console.close)
        fill(console, stack)
        windows = {
            "": console.screen("ada", size=DESKTOP),
            "dark": console.screen("ada", size=DESKTOP, scheme="dark"),
            "phone": console.screen("ada", size=PHONE),
        }
        door = console.screen(size=DESKTOP)
        door.page.goto(f"{door.url}/sign-in")
        shoot(door.page, Shot("sign-in", ""), folder / "console-sign-in.png")
        eventually(lambda: console.ask("GET", "/faults")["items"])
        time.sleep(20)
        for shot in SHOTS:
            if wanted and shot.name not in wanted:
                continue
            for kind in ("", *shot.also):
                file = folder / f"console-{'-'.join(filter(None, (shot.name, kind)))}.png"
                shoot(
                    windows[kind].go(shot.path), shot, file, whole=kind != "phone" and shot.press != "Change"
                )
                print(file, file.stat().st_size, windows[kind].overflow_px())


if __name__ == "__main__":
    main(sys.argv[1:])
