"""What the console decides by itself: where a browser may be sent, what differs, which charts there are, how a log line is read."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import HTTPConnection, Request

import fleet
from fleet.console.gate import door, prefix_of
from fleet.console.pages.device.health import group, titled
from fleet.console.pages.device.logs import blocks, read
from fleet.console.pages.device.state import compare
from fleet.console.parts import numbers
from fleet.console.parts.events import said
from fleet.console.parts.filters import parse_labels
from fleet.console.signin import own, sign_in


def asked(path: str, query: str = "", **headers: str) -> HTTPConnection:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection(
        {"type": "http", "path": path, "query_string": query.encode(), "headers": raw, "server": ("x", 80)}
    )


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "x"])
def test_nobody_is_sent_to_another_site_after_signing_in(path: str) -> None:
    assert own(path) == ""


def test_one_comes_back_to_what_was_asked_for_behind_a_proxy_too() -> None:
    assert own("/devices?name=a") == "/devices?name=a"
    assert door(asked("/devices", "name=a", x_forwarded_prefix="/fleet")) == (
        "/fleet/sign-in?next=%2Fdevices%3Fname%3Da"
    )
    assert prefix_of(asked("/", x_forwarded_prefix="//evil.example")) == ""
    assert prefix_of(asked("/", x_forwarded_prefix='/a"><script>')) == "/a%22%3E%3Cscript%3E"


def test_the_door_names_the_identity_provider_and_how_the_first_user_is_made() -> None:
    def page(issuer: str, users: list[str]) -> str:
        config = SimpleNamespace(oidc=SimpleNamespace(issuer=issuer))
        known = SimpleNamespace(page=lambda _after, _limit: users)
        plane = SimpleNamespace(config=config, fleet="lab", users=known)
        return bytes(sign_in(cast("Request", asked("/sign-in")), cast("Any", plane)).body).decode()

    assert "Sign in with id.example.org" in page("https://id.example.org/realm", [])
    assert "outrider fleet user create" in page("", [])
    assert "outrider fleet user create" not in page("", ["ada"])
    assert "Sign in with" not in page("", ["ada"])


def test_only_the_console_imports_its_library_and_nothing_imports_the_console_before_it_is_wanted() -> None:
    root = Path(fleet.__file__).parent
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "console"):
            continue
        tree = ast.parse(path.read_text())
        names = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        names += [name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names]
        assert not [name for name in names if name.startswith(("nicegui", "fleet.console"))], path


def test_what_differs_between_desired_and_reported_comes_first() -> None:
    desired = {
        "models": {"a": {"digest": "sha256:1"}, "b": {"digest": "sha256:2"}, "c": {"digest": "sha256:3"}}
    }
    reported = {
        "models": {
            "a": {"state": "ok", "digest": "sha256:1"},
            "b": {"state": "ok", "digest": "sha256:9"},
            "d": {"state": "ok", "digest": "sha256:4"},
        }
    }
    rows = compare(desired, reported)
    states = {row.key: (row.cells["state"]["chip"], row.cells["state"]["tone"]) for row in rows}
    assert [row.key for row in rows][-1] == "model a"
    assert states == {
        "model a": ("ok", "ok"),
        "model b": ("ok", "warn"),
        "model c": ("not there yet", "warn"),
        "model d": ("to be removed", "warn"),
    }


def series(scope: str, figure: str, values: list[float | None], counter: bool = False) -> dict[str, Any]:
    return {"scope": scope, "name": "n", "figure": figure, "unit": "u", "counter": counter, "values": values}


def test_charts_leave_out_what_is_unknown_and_what_never_happened() -> None:
    told = [
        series("model", "errors", [0.0, 0.0], counter=True),
        series("camera", "fps", [12.0, None]),
        series("device", "temperature_celsius", [None, None]),
        series("device", "disk_free_mib", [1.0, 1.0]),
        series("device", "cpu_percent", [0.0, 0.0]),
        series("camera", "restarts", [0.0, 1.0], counter=True),
    ]
    shown = [(each.scope, each.title) for each in group(told)]
    assert shown == [
        ("device", "Processor"),
        ("device", "Disk free"),
        ("camera", "Frames a second"),
        ("camera", "Restarts"),
    ]
    assert titled("some_new_thing_ms") == "Some new thing"


def test_log_lines_are_read_whatever_their_form() -> None:
    assert read('{"level": "ERROR", "message": "no", "camera": "x"}') == ("bad", " ERROR   no  camera=x")
    assert read("2026-01-01 WARNING camera lost") == ("warn", "2026-01-01 WARNING camera lost")
    assert read("[1, 2]") == ("", "[1, 2]")
    assert blocks(["a", "b", "ERROR c", "d"]) == [("", "a\nb"), ("bad", "ERROR c"), ("", "d")]


def test_labels_are_read_as_people_write_them() -> None:
    assert parse_labels(" site=north,line = 2,\n floor=1=2 ,") == {
        "site": "north",
        "line": "2",
        "floor": "1=2",
    }
    with pytest.raises(ValueError, match="write KEY=VALUE"):
        parse_labels("site=north, line")


def test_figures_are_short() -> None:
    assert [numbers.size(b) for b in (0, 9 * 1024, 10 * 2**20, 3 * 2**40)] == [
        "0 B",
        "9.0 KiB",
        "10 MiB",
        "3.0 TiB",
    ]
    assert [numbers.span(s) for s in (0.5, 90, 600, 7300, 200_000)] == [
        "0.5 s",
        "90 s",
        "10 min",
        "2 h",
        "2 d",
    ]
    assert numbers.by_cause({"a": 0.0, "b": 3.0, "c": 90.0}) == "90 s c, 3.0 s b"


def test_an_event_is_told_in_a_line() -> None:
    outputs = {"count": 3, "share": 0.51234, "boxes": {"predictions": [1, 2]}, "names": ["a"]}
    assert said({"outputs": outputs}) == "count 3, share 0.512, boxes 2 found, names 1 items"
    assert len(said({"outputs": {"text": "x" * 500}})) < 200
