"""Rights: roles on the devices of a selector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from fleet.selector import EVERYTHING, Selector


class Role(IntEnum):
    """Each role may do what the ones below it may."""

    VIEWER = 10
    OPERATOR = 20
    APPROVER = 30
    ADMIN = 40

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Grant:
    """A role on the devices whose labels the selector matches."""

    role: Role
    selector: Selector = EVERYTHING

    def __str__(self) -> str:
        return (
            self.role.label
            if self.selector.everything
            else f"{self.role.label} of devices with {self.selector}"
        )


@dataclass(frozen=True)
class Rights:
    """All that somebody may do. What belongs to no device (models, users, the audit log) needs a grant on everything."""

    grants: tuple[Grant, ...] = ()

    def on(self, labels: Mapping[str, str]) -> Role | None:
        """The highest role on a device with these labels; None where it may not even be seen."""
        return max((g.role for g in self.grants if g.selector.matches(labels)), default=None)

    @property
    def everywhere(self) -> Role | None:
        """The highest role that holds for every device, whatever its labels."""
        return max((g.role for g in self.grants if g.selector.everything), default=None)

    @property
    def somewhere(self) -> Role | None:
        """The highest role on any device at all."""
        return max((g.role for g in self.grants), default=None)

    def covers(self, grant: Grant) -> bool:
        """Whether somebody with these rights may pass that one on: its role or a higher one, on the same devices or all."""
        return any(
            own.role >= grant.role and (own.selector.everything or own.selector == grant.selector)
            for own in self.grants
        )

    def within(self, bound: Rights) -> Rights:
        """What is left of them where nobody may have more than `bound`."""
        return Rights(tuple(grant for grant in self.grants if bound.covers(grant)))


def whole(role: Role) -> Rights:
    """The role on every device."""
    return Rights((Grant(role),))
