"""Every application of the gallery, run on its clip: what comes out is what was put in."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.bottle_caps.scene import Scene
from examples.workflows import drawn, gallery
from examples.workflows.gallery import APPLICATIONS, Application, Context
from fleet.ports import free_port
from runtime.sinks.desk import Desk
from runtime.workflow.registry import load_blocks
from tests.conftest import SHARED
from tests.fakes.plc import LoopThread, Plc
from tests.integration.sink_rig import requests

BY_NAME = {application.name: application for application in APPLICATIONS}
NIGHT_WALL, NOON_WALL = 1_700_000_000.0, 1_700_045_000.0
"""2023-11-14 23:13 and 2023-11-15 11:43 in Berlin."""


@pytest.fixture
def drawn_only(tmp_path: Path) -> Context:
    """For what needs no real model and no real video."""
    return Context(SHARED, tmp_path)


@pytest.fixture
def context(assets: Path, tmp_path: Path) -> Context:
    return Context(assets, tmp_path)


def outputs(name: str, context: Context, **options: Any) -> list[dict[str, Any]]:
    return [output for _, output in gallery.run(BY_NAME[name], context, **options)]


# --- real videos ------------------------------------------------------------------------------------------------------


def test_six_people_cross_the_line_and_six_are_counted(context: Context) -> None:
    last = outputs("line_count", context)[-1]
    assert sorted((last["count_in"], last["count_out"])) == [0, 6]


@pytest.mark.long
def test_six_people_are_counted_at_the_videos_full_rate(context: Context) -> None:
    full = Application("line_count", 10.0, lambda c: gallery.video(c, gallery.VIDEO), 0, (), gallery.PEOPLE)
    found = [output for _, output in gallery.run(full, context)]
    assert len(found) == 1394
    assert sorted((found[-1]["count_in"], found[-1]["count_out"])) == [0, 6]


def test_the_time_in_the_zone_is_that_of_the_visit(context: Context) -> None:
    """The first person is in the room from frame 66 to 197 of 10 a second."""
    found = outputs("time_in_zone", context)
    longest = max(max(output["times_s"], default=0.0) for output in found)
    assert 10.0 < longest <= (197 - 66) / 10 + 1.0
    overdue = [number for number, output in enumerate(found) if output["overdue"]]
    assert overdue, "after ten seconds it is told"
    assert 40 + 2 * overdue[0] > 66 + 100


def test_somebody_in_the_area_is_an_alarm_at_night_and_none_at_noon(context: Context) -> None:
    night = outputs("restricted_area", context, at_wall=NIGHT_WALL)
    alarms = [40 + 5 * number for number, output in enumerate(night) if output["alarm"]]
    assert alarms
    assert min(alarms) >= 61
    assert max(alarms) <= 202
    assert len(alarms) >= 20, "the area is where the person stands"
    noon = outputs("restricted_area", context, at_wall=NOON_WALL)
    assert [output["inside"] for output in noon] == [output["inside"] for output in night]
    assert not any(output["alarm"] for output in noon)


STOCK = (
    (1, 195, 3),
    (240, 335, 2),
    (408, 500, 3),
    (544, 665, 1),
    (740, 825, 2),
    (880, 940, 3),
    (970, 1045, 2),
    (1100, 1189, 3),
)
"""First and last frame, from 1, and bottles on the shelf between them, read by eye."""


def test_the_shelf_is_low_and_empty_when_bottles_are_taken(context: Context) -> None:
    with requests() as shop:
        desk = Desk(patience_s=0.0)
        found = outputs("shelf_stock", context, desk=desk)
        judged = 0
        for number, output in enumerate(found):
            frame = 15 + 30 * number + 1
            for first, last, bottles in STOCK:
                if first + 15 <= frame <= last - 15:
                    assert output["count"] == bottles, f"frame {frame}"
                    assert output["stock"] == {3: "full", 2: "low", 1: "refill"}[bottles]
                    judged += 1
        assert judged >= 15
        # The address of the definition is an example: nothing is delivered, and the frames went on all the same.
        assert shop.got == []
        desk.close(0.1)


# --- people put into a room -------------------------------------------------------------------------------------------


def test_as_many_wait_as_were_put_into_the_queue(context: Context) -> None:
    found = outputs("queue_length", context)
    put = [n for n in gallery.QUEUES for _ in range(3)]
    assert [output["length"] for output in found] == put
    assert [output["advice"] for output in found] == [
        "empty" if n == 0 else "open another till" if n >= 3 else "fine" for n in put
    ]


def test_those_without_a_vest_are_found(context: Context) -> None:
    found = outputs("ppe_check", context)
    assert [output["people"] for output in found] == [len(vests) for vests in gallery.VESTS]
    assert [output["without_vest"] for output in found] == [vests.count(False) for vests in gallery.VESTS]
    assert [output["alarm"] for output in found] == [False in vests for vests in gallery.VESTS]


# --- bottle caps ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plc() -> Iterator[Plc]:
    loop = LoopThread()
    plc = Plc(loop, free_port())
    plc.start()
    yield plc
    plc.stop()
    loop.close()


def defects_crossing(frames: int, line_px: int = 470, seed: int = 7) -> Counter[str]:
    sides: dict[int, list[bool]] = {}
    names: dict[int, str] = {}
    scene = Scene(seed)
    for k in range(frames):
        for cap in scene.truth(k):
            names[cap.cap_id] = cap.name
            sides.setdefault(cap.cap_id, []).append((cap.box[0] + cap.box[2]) / 2 > line_px)
    return Counter(names[cap] for cap, seen in sides.items() if len(set(seen)) == 2 and names[cap] != "good")


def test_the_plc_gets_one_stroke_for_each_defective_cap(drawn_only: Context, plc: Plc) -> None:
    desk = Desk(patience_s=0.0)
    parameters = {
        "plc": "127.0.0.1", "plc_port": plc.port, "pulse_s": 0.01, "ejector_coil": 3, "count_register": 10,
        "confidence": 0.35, "line": [[470, 34], [470, 330]],
    }  # fmt: skip
    found = outputs("reject_with_plc", drawn_only, desk=desk, parameters=parameters)
    assert desk.close(5.0) == {}
    expected = defects_crossing(120)
    assert expected.total() >= 5
    assert Counter(name for output in found for name in output["reject_classes"]) == expected
    strokes = [value for code, address, value in plc.writes if (code, address) == (5, 3)]
    frames = sum(output["rejects"] > 0 for output in found)
    assert strokes == [1, 0] * frames, "on and off again for each"
    counts = [value for code, address, value in plc.writes if (code, address) == (6, 10)]
    assert sum(counts) == expected.total()


def test_two_models_agree_but_on_the_defect_that_one_was_never_taught(drawn_only: Context) -> None:
    found = outputs("two_model_consensus", drawn_only)
    disputed = [output["verdict"] == "look at it" for output in found]
    scene = Scene(7)
    caps = [
        {cap.name for cap in scene.truth(3 * number) if cap.visible > 0.9 and cap.box[0] > 40}
        for number in range(len(found))
    ]
    with_no_liner = ["no_liner" in names for names in caps]
    missed = [
        n for n, (told, there) in enumerate(zip(disputed, with_no_liner, strict=True)) if there and not told
    ]
    assert not missed, "a cap without its liner must be looked at"
    assert any(disputed)
    assert not all(disputed)
    assert all("no_liner" not in output["defects"] for output in found)


def test_a_belt_that_stands_still_is_told_and_a_running_one_not(drawn_only: Context) -> None:
    found = outputs("stopped_object", drawn_only)
    jam = [output["jam"] for output in found]
    stop, go = gallery.JAM_AT, gallery.JAM_AT + gallery.JAM_FRAMES
    assert not any(jam[: stop + 20]), "not before 1.5 s"
    assert all(jam[stop + 35 : go])
    assert not any(jam[go + 8 :])
    assert found[go - 1]["stopped"] >= 4


# --- drawn scenes -----------------------------------------------------------------------------------------------------


def test_every_bay_is_what_it_was_drawn_as(drawn_only: Context) -> None:
    found = outputs("parking", drawn_only)
    assert [[bay == "taken" for bay in output["bays"]] for output in found] == [
        list(taken) for taken in gallery.PARKED
    ]
    assert {sum(taken) for taken in gallery.PARKED} >= {1, 2, 3, 4}


def test_the_meter_is_read_and_kept(drawn_only: Context) -> None:
    desk = Desk(files=drawn_only.work)
    found = outputs("meter_reading", drawn_only, desk=desk)
    assert [output["reading"] for output in found] == list(gallery.READINGS)
    assert min(output["least_sure"] for output in found) > 0.4
    assert desk.close(5.0) == {}
    db = sqlite3.connect(drawn_only.work / "meter.sqlite")
    rows = db.execute("SELECT text, reading FROM readings ORDER BY rowid").fetchall()
    db.close()
    assert rows == [(f"{n:06d}", n) for n in gallery.READINGS]


def test_a_hundred_meters_are_read_without_an_error(drawn_only: Context) -> None:
    numbers = [int(n) for n in np.random.default_rng(3).integers(0, 10**drawn.WHEELS, 100)]
    many = Application(
        "meter_reading", 1.0, lambda _: (drawn.meter(n, 50 + k) for k, n in enumerate(numbers)), 0, (),
        BY_NAME["meter_reading"].models,
    )  # fmt: skip
    assert [output["reading"] for _, output in gallery.run(many, drawn_only)] == numbers


@pytest.mark.skipif(
    "roboflow_core/qr_code_detector@v1" not in load_blocks(plugins=False), reason="no block reads QR codes"
)
def test_a_wrong_label_and_a_missing_one_are_told(drawn_only: Context) -> None:
    desk = Desk(files=drawn_only.work)
    verdicts = [output["verdict"] for output in outputs("label_check", drawn_only, desk=desk)]
    assert verdicts == [
        {"LOT-2741": "right label", "": "no label"}.get(t, "wrong label") for t in gallery.LABELS
    ]
    assert desk.close(5.0) == {}
    (log,) = (drawn_only.work / "labels").glob("*.csv")
    assert len(log.read_text().splitlines()) == 1 + 4, "a line for each change"


# --- the folder -------------------------------------------------------------------------------------------------------


def test_each_application_has_its_definition_its_picture_and_its_line() -> None:
    page = (gallery.FOLDER / "README.md").read_text()
    for name in BY_NAME:
        assert gallery.definition(name)["steps"]
        assert (gallery.FOLDER / f"{name}.jpg").stat().st_size > 5000
        assert f"![{name}]({name}.jpg)" in page, name
        assert f"{name}.json" in page, name
    assert len(BY_NAME) >= 12
