"""One rollout: its waves and gates with their figures, how far it has come, every device; and what a person may do with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.pages.rollouts import PHASES, READ_S
from fleet.console.parts import cells, live, posting, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.layout import ago, fact, facts, page_head, section, set_chip
from fleet.console.parts.layout import chip as chip_of
from fleet.console.parts.table import Column, Empty, Row, Rows, Table
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.seat import Role, Seat

DEVICES = (
    Column("device", "Device", "tight"),
    Column("status", "Status", "tight"),
    Column("why", "Why"),
    Column("attempts", "Attempts", "number"),
    Column("revision", "Revision", "number"),
    Column("since", "Since", "tight"),
    Column("actions", ""),
)
GATES = (
    Column("gate", "Gate"),
    Column("figure", "Figure"),
    Column("limit", "Limit"),
    Column("opinion", "Holds", "tight"),
)
TONES = {
    "done": "ok",
    "failed": "bad",
    "told": "info",
    "returned": "warn",
    "returning": "warn",
    "waiting": "",
}
BARS = ("done", "told", "failed", "returned")
BACK = frozenset({"ROLLING_BACK", "ROLLED_BACK", "ABORTED"})
"""Nothing is judged any more; what stopped it is said above."""
OPINIONS = {"pass": ("yes", "ok"), "fail": ("no", "bad"), "wait": ("not yet", "info")}
VERBS: Mapping[str, tuple[str, frozenset[str], Role, str, str]] = {
    "pause": ("Pause", frozenset({"RUNNING"}), Role.OPERATOR, "", ""),
    "resume": (
        "Resume", frozenset({"PAUSED"}), Role.OPERATOR,
        "Resume?", "It goes on without the devices that have failed so far.",
    ),
    "approve": (
        "Approve", frozenset({"AWAITING_APPROVAL"}), Role.APPROVER,
        "Approve this wave?", "The next wave begins at once.",
    ),
    "abort": (
        "Abort", frozenset({"RUNNING", "PAUSED", "AWAITING_APPROVAL"}), Role.OPERATOR,
        "Abort?", "Nobody is told any more, ever. What devices have taken stays.",
    ),
    "roll-back": (
        "Abort and roll back", frozenset({"RUNNING", "PAUSED", "AWAITING_APPROVAL", "DONE", "ABORTED"}), Role.OPERATOR,
        "Roll everybody back?", "Every device that was told goes back to what it had before.",
    ),
}  # fmt: skip


@register.page("/rollouts/{name}", "Rollout")
async def rollout(seat: Seat, name: str) -> None:
    posting.files(seat)
    page = Progress(seat, name)
    page.build(await seat.api.get(f"/rollouts/{name}"))
    await page.refresh()
    live.every(READ_S, page.refresh)


class Progress:
    """The page; `refresh` reads everything again."""

    def __init__(self, seat: Seat, name: str) -> None:
        self._seat, self._name = seat, name
        self._buttons: dict[str, Tag] = {}
        self._path = f"/rollouts/{name}"

    def build(self, found: Mapping[str, Any]) -> None:
        with page_head(self._name):
            self._phase = chip_of("", "")
            tag("div", "grow")
            for verb, (words, _, role, _, _) in VERBS.items():
                kind = "danger" if verb in ("abort", "roll-back") else "primary" if verb == "approve" else ""
                denied = self._seat.denied_somewhere(role)
                self._buttons[verb] = button(words, self._order(verb), kind, denied)
        with section("Progress"):
            self._judged = text("", "judged", role="status")
            self._steps = tag("ol", "wave-steps")
            self._bar = tag("div", "waves")
        with tag("div", "columns"):
            with tag("div") as self._judging, section("Gates of this wave"):
                self._gates = Rows("Gates", GATES)
            with tag("div"):
                _plan(found)
        with section("Devices"):
            nothing = Empty("No device", "The selector matches none that you may see.")
            self._devices = Table("Devices", DEVICES, self._load, self._row, nothing, self._acted)
        with section("History"):
            self._history = tag("div", "section-body history")

    async def refresh(self) -> None:
        found = await self._seat.api.get(self._path)
        words, tone = PHASES[found["phase"]]
        set_chip(self._phase, words, tone)
        for verb, (_, phases, _, _, _) in VERBS.items():
            self._buttons[verb].set_visibility(found["phase"] in phases)
        self._judged.text = found["judged"] or ("Every device has it." if found["phase"] == "DONE" else "")
        self._judged.set_visibility(bool(self._judged.text))
        self._judged.classes(remove="bad", add="bad" if tone == "bad" or found["phase"] == "PAUSED" else "")
        self._show_waves(found)
        self._show_bar(found["devices"])
        self._judging.set_visibility(found["phase"] not in BACK)
        gates = await self._seat.api.get(f"{self._path}/gates")
        self._gates.show([_gate(line) for line in gates["items"]])
        await self._devices.refresh()
        await self._show_history()

    def _show_waves(self, found: Mapping[str, Any]) -> None:
        self._steps.clear()
        total = sum(found["devices"].values())
        with self._steps:
            for number, wave in enumerate(found["plan"]["waves"], 1):
                past = number < found["wave"] or found["phase"] == "DONE"
                here = number == found["wave"] and not past
                with tag(
                    "li", "past" if past else "here" if here else "", aria_current="step" if here else None
                ):
                    text(f"Wave {number}", name="strong")
                    text(f"{_size(wave, total)}{', passed' if past else ''}")

    def _show_bar(self, counts: Mapping[str, int]) -> None:
        total = max(1, sum(counts.values()))
        self._bar.clear()
        with self._bar:
            with tag("div", "wave-bar", role="img", aria_label=_counted(counts)):
                for status in BARS:
                    tag("div", status).style(f"width:{100 * counts.get(status, 0) / total:.2f}%")
            with tag("div", "key"):
                for status, count in sorted(counts.items()):
                    with tag("span"):
                        tag("i", status if status in BARS else "other")
                        text(f"{count:,} {status}")

    async def _show_history(self) -> None:
        lines = (await self._seat.api.get(f"{self._path}/history", limit=100))["items"]
        self._history.clear()
        with self._history, facts():
            for line in reversed(lines):
                with tag("dt"):
                    ago(line["at"])
                with tag("dd"):
                    text(line["words"])
                    text(f" {line['actor']}", "quiet")

    # --- devices --------------------------------------------------------------------------------------------------

    async def _load(self, cursor: str | None) -> Any:
        return await self._seat.api.get(f"{self._path}/devices", limit=50, cursor=cursor)

    def _row(self, member: Any) -> Row:
        failed = member["status"] == "failed"
        denied = self._seat.denied_somewhere(Role.OPERATOR)
        return Row(
            member["device"],
            {
                "device": cells.link(member["device"], f"/devices/{member['device']}"),
                "status": cells.chip(member["status"], TONES.get(member["status"], "")),
                "why": cells.words(member["message"][:300], member["reason"]),
                "attempts": cells.words(member["attempts"]),
                "revision": cells.words(member["revision"] or ""),
                "since": cells.when(member["since"]),
                "actions": cells.actions([cells.action("retry", "Retry", denied=denied)] if failed else []),
            },
        )

    async def _acted(self, _name: str, device: str) -> None:
        async def retry() -> None:
            await self._seat.api.change("POST", f"{self._path}/retry", {"devices": [device]})
            problem.done(f"{device} is told once more")

        await problem.attempt(retry)
        await self.refresh()

    # --- orders ---------------------------------------------------------------------------------------------------

    def _order(self, verb: str) -> Any:
        words, _, _, title, detail = VERBS[verb]

        async def order() -> None:
            danger = verb in ("abort", "roll-back")
            if not title or await confirmed(title, detail, words, danger):
                await self._seat.api.change("POST", f"{self._path}/{verb}")
                await self.refresh()

        return order


def _plan(found: Mapping[str, Any]) -> None:
    plan = found["plan"]
    with section("Plan"), tag("div", "section-body"), facts():
        with fact("Whom"):
            text(plan.get("selector") or "every device", "code")
        with fact("Change"), tag("details"):
            text(_change(plan["change"]), name="summary")
            ui.label(json.dumps(plan["change"], indent=2)).classes("code prose")
        with fact("When a gate fails"):
            text("everybody goes back" if plan.get("on_failure") == "roll-back" else "it pauses")
        if plan.get("first"):
            with fact("First"):
                for device in plan["first"]:
                    text(device, "label")
        with fact("Begun"):
            ago(found["since"])
            text(f" by {found['created_by']}", "quiet")


def _change(change: Mapping[str, Any]) -> str:
    """`models: people → yolox@3`, as far as it is that simple."""
    words = []
    for section_name, entries in change.items():
        for name, value in entries.items() if isinstance(entries, dict) else ():
            target = (
                value
                if isinstance(value, str)
                else value.get(section_name[:-1])
                if isinstance(value, dict)
                else None
            )
            words.append(f"{section_name[:-1]} {name}" + (f" → {target}" if target else ""))
    return ", ".join(words) or "settings"


def _size(wave: Mapping[str, Any], total: int) -> str:
    if wave.get("devices") is not None:
        return f"{wave['devices']:,} of {total:,}"
    return f"{wave['percent']:g} %"


def _gate(line: Mapping[str, Any]) -> Row:
    words, tone = OPINIONS[line["opinion"]]
    return Row(
        line["gate"],
        {
            "gate": cells.words(line["gate"]),
            "figure": cells.words(line["figure"]),
            "limit": cells.words(line["limit"]),
            "opinion": cells.chip(words, tone),
        },
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
