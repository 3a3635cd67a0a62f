"""What this device believes: desired states and commands that a pinned key has signed for it. No IO."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.clock import Clock
from agent.identity import Identity
from wire import command, desired, dsse
from wire.desired import Desired
from wire.errors import NotTrusted, Refused, WireError


class SignedNonsense(Refused):
    """A document of a trusted key that makes no sense; its `revision` is used up."""

    def __init__(self, cause: Refused, revision: int) -> None:
        super().__init__(str(cause), cause.reason, cause.problems)
        self.revision = revision


class Gate:
    """Opens signed documents for one identity."""

    def __init__(
        self, identity: Identity, clock: Clock, state_keys: Callable[[], Mapping[str, bytes]] | None = None
    ) -> None:
        """`state_keys`: who may sign, asked each time; those pinned at enrolment where it is not given."""
        self._identity = identity
        self._keys = state_keys or (lambda: identity.state_keys)
        self._clock = clock

    def open_desired(self, document: object, highest: int) -> Desired | None:
        """The desired state inside; None where it is the revision that was accepted last.

        :raises wire.errors.Malformed: no signed document
        :raises NotTrusted: signature, device, revision or expiry do not hold
        :raises SignedNonsense: it makes no sense, with every problem
        """
        identity = self._identity
        at_wall = self._clock.wall() if self._clock.synced() else None
        if highest and self._revision(document) == highest:
            return None
        try:
            return desired.open_signed(
                document, self._keys(), device=identity.device, above_revision=highest, at_wall=at_wall
            )
        except NotTrusted:
            raise
        except Refused as e:
            raise SignedNonsense(e, self._revision(document)) from e

    def open_command(self, document: object) -> command.Command:
        """The command inside.

        :raises WireError: it does not hold
        """
        return command.open_signed(
            document, self._keys(), device=self._identity.device, at_wall=self._clock.wall()
        )

    def knows_signer(self, document: object) -> bool:
        """Whether the document names a key that is known; true also where it is no signed document."""
        signers = dsse.signers(document)
        return not signers or any(name in self._keys() for name in signers)

    def _revision(self, document: object) -> int:
        """The revision of a signed document for this device; 0 where it is none or not for us."""
        try:
            body = dsse.verify(document, desired.PAYLOAD_TYPE, self._keys())
        except WireError:
            return 0
        revision = body.get("revision")
        ours = body.get("device") == self._identity.device
        if not ours or not isinstance(revision, int) or isinstance(revision, bool):
            return 0
        return revision if 0 < revision <= 2**53 else 0
