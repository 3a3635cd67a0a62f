"""What a device is asked for with a rollout's change: its document as it is stored, which the next revision must take again."""

from __future__ import annotations

from fleet.resolution import FIELDS
from fleet.rollout.change import former
from wire.desired import Desired


def test_stored_document_is_asked_for_again_in_fields_that_can_be_asked_for() -> None:
    document = Desired(device="d", revision=1, issued_at=1.0, expires_at=2.0).to_json()
    assert set(former(document)) <= set(FIELDS)
