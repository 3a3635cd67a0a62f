"""What pages read from a definition: arrows, places in the text, zones and lines; and its picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fleet.console.definition import error_line, line_of, node_of, wiring
from fleet.console.graph import StepFigures, draw
from fleet.console.places import FIELDS, LINE, POLYGON, parameter, places, put

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "workflows").glob("*.json"))
COUNTING = json.loads((EXAMPLES[0].parent / "line_count.json").read_text())


def test_arrows_go_from_what_is_read_to_what_reads_it_each_once() -> None:
    found = wiring(COUNTING)
    assert ("inputs.line", "steps.line") in found.arrows
    assert ("steps.tracker", "steps.line") in found.arrows
    assert found.arrows.count(("steps.line", "steps.picture")) == 1
    assert ("steps.line", "outputs.count_in") in found.arrows


def test_a_decision_leads_to_the_steps_it_names() -> None:
    steps = [
        {"type": "c", "name": "gate", "next_steps": ["$steps.send"], "x": "$inputs.a"},
        {"type": "s", "name": "send"},
    ]
    found = wiring({"inputs": [{"name": "a"}], "steps": steps})
    assert found.arrows == [("steps.gate", "steps.send"), ("inputs.a", "steps.gate")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_node_lies_on_another_and_every_arrow_points_down(path: Path) -> None:
    svg = draw(json.loads(path.read_text()))
    boxes = [tuple(map(float, found)) for found in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', svg)]
    for i, (x, y) in enumerate(boxes):
        assert not [1 for x2, y2 in boxes[i + 1 :] if abs(x - x2) < 178 and abs(y - y2) < 46]
    for way in re.findall(r'class="arrow[^"]*" d="([^"]+)"', svg):
        heights = [
            float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)|[\d.]+ ([\d.]+)(?=[CV]|$)", way) for y in y if y
        ]
        assert heights == sorted(heights)


def test_a_picture_tells_times_failures_and_problems_and_is_safe() -> None:
    document = {"steps": [{"type": "a/b@v1", "name": "slow"}, {"type": "<b>", "name": '"><script>'}]}
    svg = draw(document, {"slow": StepFigures(2500.0, 3)}, {'steps."><script>': "it is <bad>"})
    assert "2.5 ms" in svg
    assert "3 failed" in svg
    assert "<script>" not in svg
    assert "&lt;bad&gt;" in svg
    assert 'class="node step warn"' in svg
    assert 'class="node step bad"' in svg


def test_a_circle_is_drawn_all_the_same() -> None:
    steps = [{"name": "a", "type": "t", "x": "$steps.b.y"}, {"name": "b", "type": "t", "x": "$steps.a.y"}]
    assert draw({"steps": steps}).count("<rect") == 2
    assert draw({}) == draw([]) == ""


def test_a_problem_is_found_in_the_text_by_names_and_numbers() -> None:
    text = json.dumps(COUNTING, indent=2)

    def line(path: str) -> str:
        return text.splitlines()[line_of(text, path) - 1].strip()

    assert line("steps.line.line_segment").startswith('"line_segment"')
    assert line("steps[0].name") == '"name": "detector",'
    assert line("inputs.line.default_value[1]") == "["
    assert line("steps.line.missing").startswith("{")
    assert line("nowhere") == "{"
    assert line_of(json.dumps({"specification": COUNTING}, indent=1), "steps.line.type") > 30
    assert error_line('{\n"a": 1\n"b"}') == line_of('{\n"a": 1\n"b"}', "a") == 3
    assert node_of("steps.line.zone[0]") == "steps.line"
    assert node_of("version") == ""


def test_lines_and_zones_are_found_behind_parameters_and_put_back() -> None:
    (line,) = places(COUNTING)
    assert (line.key, line.kind, line.steps) == ("inputs.line", LINE, ("line", "picture"))
    assert line.points == ((640.0, 60.0), (640.0, 432.0))
    changed = put(COUNTING, line, [[1.4, 2.6], [30, 40]])
    assert changed["inputs"][2]["default_value"] == [[1, 3], [30, 40]]
    assert places(changed)[0].points == ((1.0, 3.0), (30.0, 40.0))
    assert COUNTING["inputs"][2]["default_value"] == [[640, 60], [640, 432]]
    assert parameter(line, [[1, 2], [3, 4]]) == {"line": [[1, 2], [3, 4]]}


def test_a_literal_zone_and_several_zones_of_a_step() -> None:
    zone = [[0, 0], [10, 0], [10, 10]]
    steps = [
        {"type": "roboflow_core/time_in_zone@v3", "name": "queue", "zone": [zone, zone]},
        {"type": "roboflow_core/time_in_zone@v1", "name": "auto", "zone": "$steps.queue.zones"},
        {"type": "roboflow_core/motion_detection@v1", "name": "move", "detection_zone": None},
    ]
    found = places({"steps": steps})
    assert [(p.key, p.kind, len(p.points)) for p in found] == [
        ("steps.queue.zone", POLYGON, 3),
        ("steps.move.detection_zone", POLYGON, 0),
    ]
    changed = put({"steps": steps}, found[0], [[5, 5], [6, 5], [6, 6]])
    assert changed["steps"][0]["zone"] == [[[5, 5], [6, 5], [6, 6]], zone]
    assert parameter(found[0], [[5, 5]]) == {}


def test_every_field_of_points_of_every_block_can_be_drawn() -> None:
    from runtime.workflow.registry import load_blocks
    from runtime.workflow.schema import definition_schema

    pair = {"type": "array", "minItems": 2}

    def is_points(schema: Any) -> bool:
        items = schema.get("items", {}) if isinstance(schema, dict) else {}
        if (
            schema.get("type") == "array"
            and items.get("type") == "array"
            and items.get("items", {}).get("type") == "number"
        ):
            return bool(items.get("minItems") == pair["minItems"])
        return any(is_points(option) for option in schema.get("anyOf", ())) or (
            bool(items) and is_points(items)
        )

    schema = definition_schema(load_blocks())
    found = {
        (re.sub(r".*/|@v\d+", "", block), field)
        for block, described in schema["$defs"].items()
        if "@v" in block
        for field, value in described.get("properties", {}).items()
        if is_points(value)
    }
    assert found <= set(FIELDS)
    assert set(FIELDS) - found <= {("perspective_correction", "perspective_polygons")}
