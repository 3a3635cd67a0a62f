"""Who looks at a page, from where, and what they may do there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.access.grants import Grant, Rights, Role
from fleet.access.users import read_rights
from fleet.console.calls import Api


@dataclass(frozen=True)
class Seat:
    """`base` is the console's address as the browser has it, without a slash at the end; `prefix` its path, where a proxy adds one."""

    name: str
    rights: Rights
    api: Api
    base: str
    prefix: str

    def href(self, path: str) -> str:
        """A path of ours as the browser asks for it."""
        return self.prefix + path

    def denied(self, role: Role, labels: Mapping[str, str] | None = None) -> str:
        """Why a role is not held, on a device with these labels or for the whole fleet; empty where it is."""
        held = self.rights.everywhere if labels is None else self.rights.on(labels)
        if held is not None and held >= role:
            return ""
        has = f"you are {held.label}" if held is not None else "you have no role"
        where = "for the whole fleet" if labels is None else "here"
        return f"Needs the role {role.label} {where}; {has}."

    def denied_somewhere(self, role: Role) -> str:
        """Why a role is held on no device at all; empty where it is on some."""
        held = self.rights.somewhere
        if held is not None and held >= role:
            return ""
        return f"Needs the role {role.label}; you are {held.label if held else 'without one'}."


async def take(api: Api, base: str, prefix: str) -> Seat:
    """Ask the API who this is.

    :raises ApiProblem: the session is over
    """
    session: Any = await api.get("/session")
    api.csrf = session["csrf"]
    rights = read_rights([(b["role"], b["selector"]) for b in session["bindings"]])
    return Seat(session["name"], rights, api, base, prefix)


__all__ = ["Grant", "Role", "Seat", "take"]
