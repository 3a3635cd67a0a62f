"""The fleet at a glance: presence, what is wrong, where, and what runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.pages.device import enrolment
from fleet.console.parts import cells, live
from fleet.console.parts.buttons import button
from fleet.console.parts.faults import Faults
from fleet.console.parts.layout import empty, figure, page_head, section
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.seat import Seat

REFRESH_S = 10.0
PRESENCES = {"online": "ok", "silent": "warn", "offline": "bad", "never": ""}
SITES = (
    Column("site", "Site"),
    Column("devices", "Devices", "number"),
    Column("online", "Online", "number"),
    Column("state", "State", "tight"),
)
RUNNING = (
    Column("name", "Runs"),
    Column("kind", "Kind", "tight"),
    Column("devices", "Devices", "number"),
    Column("online", "Online", "number"),
    Column("state", "State", "tight"),
)
MOST_ROWS = 50
SEVERITIES = ("critical", "warning", "info")


@register.page("/", "Overview", register.Menu("Fleet", 0, "home"))
async def overview(seat: Seat) -> None:
    shown = await seat.api.get("/overview")
    running = (await seat.api.get("/running"))["items"]
    with page_head("Overview"):
        tag("div", "grow")
        denied = seat.denied_somewhere(Role.OPERATOR)
        button("Add a device", lambda: enrolment.ask(seat), "" if shown["devices"] else "primary", denied)
    if not shown["devices"]:
        with section("Start here"):
            empty("No devices yet", "Add one: the button above gives the command to run on it.")
    figures = _Figures(seat)
    with section("Faults") as head:
        trouble = Faults(seat, limit=10)
    with head:
        tag("div", "grow")
        text("All faults", name="a", href=seat.href("/faults"))
    with tag("div", "columns"):
        with section("Sites", "by the label site"):
            sites = Rows("Sites", SITES)
            more_sites = text("", "table-note", "p")
        with section("What runs where"):
            runs = Rows("What runs where", RUNNING)
            nothing = tag("div")
            with nothing:
                empty("Nothing runs yet", "Upload a model and a workflow, then roll them out.")
    with section("Agents"), tag("div", "section-body bars"):
        agents = tag("div", "bars")

    def show(now: Any, artifacts: list[Any]) -> None:
        figures.show(now)
        sites.show([_site(seat, site) for site in now["sites"][:MOST_ROWS]])
        left = len(now["sites"]) - MOST_ROWS
        more_sites.text = f"{left:,} more; the list of devices can be filtered by label." if left > 0 else ""
        more_sites.set_visibility(left > 0)
        runs.show([_run(each) for each in artifacts[:MOST_ROWS]])
        runs.set_visibility(bool(artifacts))
        nothing.set_visibility(not artifacts)
        _versions(agents, now["versions"])

    async def refresh() -> None:
        now = await seat.api.get("/overview")
        show(now, (await seat.api.get("/running"))["items"])
        await trouble.refresh()

    show(shown, running)
    await trouble.refresh()
    live.every(REFRESH_S, refresh)


class _Figures:
    """The numbers that are read first."""

    def __init__(self, seat: Seat) -> None:
        self._shown: dict[str, Tag] = {}
        with tag("div", "figures"):
            self._shown["devices"] = figure("devices", 0, href=seat.href("/devices"))
            for name, tone in PRESENCES.items():
                self._shown[name] = figure(name, 0, tone, seat.href(f"/devices?presence={name}"))
            for name in SEVERITIES[:2]:
                self._shown[name] = figure(f"{name} faults", 0, href=seat.href(f"/faults?severity={name}"))

    def show(self, now: Mapping[str, Any]) -> None:
        self._shown["devices"].text = f"{now['devices']:,}"
        for name in PRESENCES:
            self._set(name, now["presence"].get(name, 0), PRESENCES[name])
        for name, tone in zip(SEVERITIES, ("bad", "warn"), strict=False):
            self._set(name, now["faults"].get(name, 0), tone)

    def _set(self, name: str, count: int, tone: str) -> None:
        """Only what is there has its colour."""
        shown = self._shown[name]
        shown.text = f"{count:,}"
        shown.classes(remove="ok warn bad", add=tone if count else "")


def _site(seat: Seat, site: Mapping[str, Any]) -> Row:
    name = site["site"]
    selector = f"site={_quoted(name)}" if name else "!site"
    faults = site["faults"]
    worst = next((severity for severity in SEVERITIES if faults.get(severity)), "")
    count = sum(faults.values())
    state = (
        cells.chip(f"{count} {worst}", {"critical": "bad", "warning": "warn"}.get(worst, "info"))
        if worst
        else cells.chip("well", "ok")
    )
    return Row(
        name or "-",
        {
            "site": cells.link(name or "without a site", f"/devices?{urlencode({'selector': selector})}"),
            "devices": cells.words(f"{site['devices']:,}"),
            "online": cells.words(f"{site['online']:,}"),
            "state": state,
        },
    )


def _quoted(value: str) -> str:
    plain = value.replace(".", "").replace("-", "").replace("_", "")
    return (
        value
        if plain.isascii() and plain.isalnum()
        else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


def _run(artifact: Mapping[str, Any]) -> Row:
    name = artifact["name"]
    base = name.partition("@")[0]
    page = f"/{artifact['kind']}s/{quote(base)}" if "@" in name else ""
    troubled = artifact["troubled"]
    return Row(
        f"{artifact['kind']} {artifact['digest']}",
        {
            "name": cells.link(name, page) if page else cells.words(name, artifact["digest"][7:19]),
            "kind": cells.words(artifact["kind"]),
            "devices": cells.words(f"{artifact['devices']:,}"),
            "online": cells.words(f"{artifact['online']:,}"),
            "state": cells.chip(f"{troubled} not well", "warn") if troubled else cells.chip("well", "ok"),
        },
    )


def _versions(place: Tag, versions: Mapping[str, int]) -> None:
    whole = sum(versions.values())
    place.clear()
    with place:
        for version, count in sorted(versions.items(), key=lambda pair: -pair[1])[:12]:
            with tag("div", "bar-row"):
                text(version or "not told yet")
                text(f"{count:,}", "quiet")
                with tag("div", "bar-track", role="presentation"):
                    tag("div", "bar-fill").style(f"width:{100 * count / whole if whole else 0:.1f}%")
