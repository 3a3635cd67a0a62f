"""Oneself: what one may do, and another password."""

from __future__ import annotations

from nicegui import ui

from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.parts.buttons import button
from fleet.console.parts.layout import fact, facts, page_head, section
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat


@register.page("/account", "Your account")
async def account(seat: Seat) -> None:
    with page_head(seat.name):
        pass
    with tag("div", "columns"):
        with section("What you may do"), tag("div", "section-body"), facts():
            for grant in seat.rights.grants:
                with fact(grant.role.label):
                    text(f"where {grant.selector}" if str(grant.selector) else "in the whole fleet")
            if not seat.rights.grants:
                text("Nothing yet. An admin gives roles on the page Users.", "quiet")
        with section("Another password"), tag("div", "section-body form"):
            _password(seat)


def _password(seat: Seat) -> None:
    old = ui.input("Old password", password=True).props("autocomplete=current-password")
    new = ui.input("New password", password=True).props("autocomplete=new-password")
    again = ui.input("New password again", password=True).props("autocomplete=new-password")

    async def change() -> None:
        if new.value != again.value:
            raise ApiProblem(422, "Passwords differ", "The new password is not the same both times.")
        await seat.api.change("POST", "/session/password", {"old": old.value or "", "new": new.value or ""})
        ui.navigate.to("/sign-in")

    with tag("div", "actions"):
        button("Change password", change, "primary")
    text("Every session of yours ends; sign in again with the new one.", "quiet", "p")
