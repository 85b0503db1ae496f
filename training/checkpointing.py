"""What a hospital says at the end of a run about its own logs, and what it keeps of what all have said.

Knows its ledger, its egress log and the release folder. Nothing of it decides about a model or a sum: without it a
release is as good, but whoever has the hospital's key can rewrite a log later.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp.ledger import Ledger
from secagg.charter import VerifiedCharter
from secagg.egress import EgressLog
from secagg.errors import RemoteProtocolError, TamperingError
from secagg.files import write_atomically
from secagg.identity import Identity
from secagg.log_excerpt import checkpoint_of
from secagg.release.checkpoints import CHECKPOINTS_FILE, sign_checkpoint, verify_checkpoints, verify_sites
from secagg.release.dsse import attest, read_signed
from training.messages import Checkpoint, Cosign, Cosigned, Witness


@dataclass(frozen=True)
class Checkpointing:
    """One hospital's part.

    Attributes:
        name: its own, in the charter.
        release: the folder of the release, where the checkpoints go too.
    """

    charter: VerifiedCharter
    name: str
    identity: Identity
    ledger: Ledger
    egress: EgressLog
    release: Path

    def take(self) -> Checkpoint:
        """How far this hospital's logs have come."""
        ledger, egress = checkpoint_of(self.ledger.entries), checkpoint_of(self.egress.entries)
        signed = sign_checkpoint(self.charter, self.name, ledger, egress, self.identity)
        return Checkpoint(ledger.entries, ledger.root, egress.entries, egress.root, signed.signature)

    def cosign(self, payload: Witness) -> Cosign:
        """Sign for what all have said, once each is seen to have said it.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``.
        """
        try:
            verify_sites(payload.statement, self.charter, "The list of checkpoints")
        except TamperingError as error:
            raise _bad(error) from error
        return Cosign(attest(payload.statement, self.identity).sig)

    def keep(self, payload: Cosigned) -> None:
        """Put it beside the release: others' copies are what a log cannot be rewritten against.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``.
            InputError: ``unwritable``.
        """
        try:
            verify_checkpoints(read_signed(payload.signed, "The list of checkpoints"), self.charter)
        except TamperingError as error:
            raise _bad(error) from error
        write_atomically(self.release / CHECKPOINTS_FILE, payload.signed)


def _bad(error: TamperingError) -> RemoteProtocolError:
    return RemoteProtocolError("bad-checkpoints", error.message, culprit=error.culprit, remedy=error.remedy)
