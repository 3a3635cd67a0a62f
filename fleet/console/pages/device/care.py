"""What is seldom done to a device: labels, secrets, diagnostics, its update stopped, its identity ended."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.pages.device.camera import send
from fleet.console.pages.device.frame import Head
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.filters import parse_labels
from fleet.console.parts.layout import section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

SECRETS = (Column("name", "Secret"), Column("set", "Set", "tight"), Column("by", "By"), Column("actions", ""))
DIAGNOSTICS_S = 120.0


@register.page("/devices/{device}/care", "Care")
async def care(seat: Seat, device: str) -> None:
    shown = await seat.api.get(f"/devices/{device}")
    denied = seat.denied(Role.OPERATOR, shown["labels"])
    Head(seat, shown, "/care")
    await _labels(seat, device, denied)
    _commands(seat, device, denied)
    await _secrets(seat, device, denied)
    _end(seat, device, denied)


async def _labels(seat: Seat, device: str, denied: str) -> None:
    read = await seat.api.tagged(f"/devices/{device}/labels")
    tag_now = {"tag": read.tag}
    with section("Labels", "which selectors, rights and rollouts go by"), tag("div", "section-body"):
        said = ", ".join(f"{key}={value}" for key, value in sorted(read.body["labels"].items()))
        field = ui.input("Labels", value=said, placeholder="site=north, line=2")
        if denied:
            field.props("readonly")

        async def save() -> None:
            try:
                wanted = parse_labels(field.value or "")
            except ValueError as e:
                raise ApiProblem(422, "Labels cannot be read", str(e)) from e
            body = {"labels": wanted}
            await seat.api.change("PUT", f"/devices/{device}/labels", body, if_match=tag_now["tag"])
            tag_now["tag"] = (await seat.api.tagged(f"/devices/{device}/labels")).tag
            problem.done("Labels are set")

        with tag("div", "actions"):
            button("Set labels", save, "primary", denied)


def _commands(seat: Seat, device: str, denied: str) -> None:
    async def ask_report() -> None:
        await send(seat, device, "report", {})
        problem.done(f"{device} has told its state and health anew")

    async def cancel() -> None:
        detail = "The device stays with what runs. Its rollout counts it as failed."
        if await confirmed("Stop the update under way?", detail, "Stop update"):
            result = await send(seat, device, "update-cancel", {})
            problem.done(f"The update to revision {result.get('revision')} is stopped")

    async def clear() -> None:
        detail = "Versions that were rolled back may be tried again on this device."
        if await confirmed("Clear the quarantine?", detail, "Clear quarantine", danger=False):
            result = await send(seat, device, "quarantine-clear", {})
            problem.done(f"{len(result.get('cleared') or ())} version(s) may be tried again")

    async def diagnostics() -> None:
        body = {"timeout_s": DIAGNOSTICS_S}
        note.text = "The device gathers its log, state and figures, without secrets…"
        try:
            answer = await seat.api.change("POST", f"/devices/{device}/diagnostics", body)
        finally:
            note.text = ""
        if not answer["ok"]:
            raise ApiProblem(409, "No bundle", str(answer.get("message") or answer.get("reason")))
        address = f"/api/v1/devices/{device}/diagnostics/{answer['result']['id']}"
        with note.parent_slot.parent if note.parent_slot else note:
            text(f"Download {device}-{answer['result']['id']}.tar.gz", name="a", href=seat.href(address))

    with section("Commands"), tag("div", "section-body"):
        with tag("div", "actions"):
            button("Ask for a report", ask_report, "", denied)
            button("Fetch diagnostics", diagnostics, "", denied)
            button("Clear quarantine", clear, "", denied)
            button("Stop update", cancel, "danger", denied)
        with tag("p"):
            note = text("", "quiet", role="status")


async def _secrets(seat: Seat, device: str, denied: str) -> None:
    async def load(cursor: str | None) -> Any:
        return await seat.api.get(f"/devices/{device}/secrets", limit=50, cursor=cursor)

    def row(secret: Any) -> Row:
        remove = cells.action("remove", "Remove", danger=True, denied=denied)
        return Row(
            secret["name"],
            {
                "name": cells.code(secret["name"]),
                "set": cells.when(secret["set_at"]),
                "by": cells.words(secret["set_by"]),
                "actions": cells.actions([remove]),
            },
        )

    async def acted(_name: str, key: str) -> None:
        if await confirmed(
            f"Remove the secret {key}?",
            "Cameras and sinks that name it fail until it is set again.",
            "Remove secret",
        ):

            async def remove() -> None:
                await seat.api.change("DELETE", f"/devices/{device}/secrets/{key}")

            await problem.attempt(remove)
            await table.refresh()

    with section("Secrets", "sealed to the device; nobody else can read them"):
        nothing = Empty("No secrets", f"Set one with: outrider fleet device secret set {device} NAME")
        table = Table("Secrets", SECRETS, load, row, nothing, acted)
    await table.refresh()


def _end(seat: Seat, device: str, denied: str) -> None:
    async def revoke() -> None:
        detail = "It is cut off at once: certificates, tokens, broker. A replacing enrolment token lets it in again."
        if await confirmed(f"Revoke the identity of {device}?", detail, "Revoke identity"):
            await seat.api.change("POST", f"/devices/{device}/revoke")
            problem.done(f"{device} is cut off")

    async def retire() -> None:
        detail = (
            "Its identity ends and its secrets go; its history stays, and its name may be enrolled again."
        )
        if await confirmed(f"Retire {device}?", detail, "Retire device"):
            await seat.api.change("POST", f"/devices/{device}/retire")
            ui.navigate.to("/devices")

    async def wipe() -> None:
        _wipe(seat, device)

    with section("Out of service"), tag("div", "section-body"), tag("div", "actions"):
        button("Revoke identity", revoke, "danger", denied)
        button("Retire device", retire, "danger", denied)
        button("Wipe device", wipe, "danger", denied)


def _wipe(seat: Seat, device: str) -> None:
    lead = (
        "The device removes everything it keeps, credentials too, and is retired. This cannot be taken back."
    )
    with sheet(f"Wipe {device}", lead) as dialog:
        name = ui.input("Type the device's name").props("autofocus")

        async def wipe() -> None:
            await seat.api.change("POST", f"/devices/{device}/wipe", {"confirm": name.value or "?"})
            dialog.close()
            ui.navigate.to("/devices")

        with tag("div", "actions"):
            close_button(dialog)
            button("Wipe device", wipe, "primary danger")
