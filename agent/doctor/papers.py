"""The device's papers: its enrolment, its certificate, the authority it believes, and their ages."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from agent.identity import Identity
from agent.renewal import RENEW_AT
from wire.finding import FAULT, OK, WARNING, Finding

DAY_S = 86400.0
LATE = (1 + RENEW_AT) / 2
"""Of a certificate's life: renewal began at two thirds; half of the rest has gone without one."""
SOON_S = 90 * DAY_S
"""An authority that ends so soon wants a successor by now."""


def enrolment(identity: Identity | None, problem: str = "") -> Finding:
    if problem:
        return Finding("enrolment", FAULT, problem, "outrider agent enroll URL TOKEN --force")
    if identity is None:
        return Finding("enrolment", FAULT, "this device has no identity", "outrider agent enroll URL TOKEN")
    return Finding("enrolment", OK, f"{identity.device} of fleet {identity.fleet}, at {identity.url}")


def certificate(chain: bytes | None, wall: float, synced: bool) -> Finding:
    """The device's own. A clock that is not synchronised makes no fault of an end that has passed."""
    name = "certificate"
    if chain is None:
        return Finding(name, FAULT, "the device has none", "outrider agent enroll URL TOKEN")
    try:
        begin, end = _life(chain)
    except ValueError as e:
        return Finding(name, FAULT, f"it cannot be read: {e}", "outrider agent enroll URL TOKEN --force")
    age_days, left_days = (wall - begin) / DAY_S, (end - wall) / DAY_S
    words = f"{age_days:.0f} days old, good for {left_days:.0f} more"
    if wall >= end:
        state = FAULT if synced else WARNING
        return Finding(
            name, state, f"it ended {-left_days:.0f} days ago", "enrol the device again; check the clock"
        )
    if wall < begin:
        return Finding(name, WARNING, "it begins in the future by this clock", "set the clock")
    if wall > begin + LATE * (end - begin):
        return Finding(
            name, WARNING, f"{words}, and should have been renewed", "see whether the control plane answers"
        )
    return Finding(name, OK, words)


def metadata(root: str, timestamp: bytes | None, wall: float, synced: bool) -> Finding:
    """The trust metadata that was kept last: past its end, nothing new is accepted."""
    name = "trust metadata"
    if not root:
        return Finding(
            name,
            WARNING,
            "no root is pinned: digests in signed desired states are all there is",
            "enrol again",
        )
    if timestamp is None:
        return Finding(name, OK, "a root is pinned, and nothing has been fetched yet")
    try:
        text = json.loads(timestamp)["signed"]["expires"]
        end_wall = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, KeyError, TypeError) as e:
        return Finding(name, WARNING, f"the kept timestamp cannot be read ({e}); it is fetched again")
    left_days = (end_wall - wall) / DAY_S
    if left_days > 0:
        return Finding(name, OK, f"nothing newer is needed for {left_days:.0f} days")
    state = FAULT if synced else WARNING
    remedy = "see whether the control plane answers, or bring a newer bundle"
    return Finding(name, state, f"it ended {-left_days:.0f} days ago: nothing new is accepted", remedy)


def authority(pem: str, wall: float) -> Finding:
    """The pinned one."""
    name = "authority"
    if not pem:
        return Finding(name, WARNING, "none is pinned: the system's authorities are believed", "enrol with a token that holds one")  # fmt: skip
    try:
        _, end = _life(pem.encode())
    except ValueError as e:
        return Finding(name, FAULT, f"it cannot be read: {e}", "enrol the device again")
    left_s = end - wall
    words = f"pinned, good for {left_s / DAY_S:.0f} days"
    if left_s <= 0:
        return Finding(name, FAULT, f"it ended {-left_s / DAY_S:.0f} days ago", "enrol the device again")
    if left_s < SOON_S:
        return Finding(name, WARNING, words, "make its successor: docs/control-plane.md")
    return Finding(name, OK, words)


def _life(chain: bytes) -> tuple[float, float]:
    """Begin and end of the first certificate, in wall-clock seconds.

    :raises ValueError: it is none
    """
    from cryptography import x509

    first = x509.load_pem_x509_certificates(chain)[0]
    return first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
