"""Whether a release of the agent fits a device."""

from __future__ import annotations

from typing import Any

import pytest

from agent.update.fitness import Machine, is_older, unfit
from wire.reasons import Reason
from wire.release import ReleaseCard

MACHINE = Machine("3.11", "linux-x86_64", "2.31", "0.2.0", {"numpy": "2.1"})


def card(**changes: Any) -> ReleaseCard:
    body = {
        "version": "0.3.0",
        "python": "3.11",
        "platform": "linux-x86_64",
        "glibc": "2.28",
        "base": {"numpy": "2.1"},
    }
    return ReleaseCard.model_validate({**body, **changes})


@pytest.mark.parametrize(
    ("changes", "allow", "reasons"),
    [
        ({}, False, []),
        ({"python": "3.12"}, False, [Reason.RELEASE_UNFIT]),
        ({"platform": "linux-aarch64"}, False, [Reason.RELEASE_UNFIT]),
        ({"glibc": "2.35"}, False, [Reason.RELEASE_UNFIT]),
        ({"glibc": "2.9"}, False, []),
        ({"base": {"numpy": "2.2", "torch": "1"}}, False, [Reason.RELEASE_UNFIT] * 2),
        ({"version": "0.1.9"}, False, [Reason.RELEASE_OLDER]),
        ({"version": "0.1.9"}, True, []),
        ({"version": "0.2.0"}, False, []),
        ({"version": "0.2.0rc1"}, False, [Reason.RELEASE_OLDER]),
    ],
)
def test_everything_that_speaks_against_a_release_is_told(
    changes: dict[str, Any], allow: bool, reasons: list[Reason]
) -> None:
    assert [p.reason for p in unfit(card(**changes), MACHINE, allow_downgrade=allow)] == reasons


def test_what_is_no_version_is_not_older() -> None:
    assert not is_older("0", "unknown")
    assert is_older("0.9", "0.10")
