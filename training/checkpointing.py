"""What a hospital says at the end of a run about its own logs, and what it keeps of what all have said.

Knows its ledger, its egress log and the release folder. Nothing of it decides about a model or a sum: without it a
release is as good, but whoever has the hospital's key can rewrite a log later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dp.ledger import Ledger
from secagg.charter import VerifiedCharter
from secagg.egress import EgressLog
from secagg.errors import RemoteProtocolError, TamperingError
from secagg.files import read_bounded, write_atomically
from secagg.identity import Identity
from secagg.log_excerpt import checkpoint_of
from secagg.release.checkpoints import (
    CHECKPOINTS_FILE,
    is_vouched_for,
    sign_checkpoint,
    verify_checkpoints,
    verify_sites,
)
from secagg.release.dsse import LARGEST_STATEMENT, attest, read_signed
from training.messages import Checkpoint, Cosign, Cosigned, Witness

_LIST: Final = "The list of checkpoints"


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
        """Sign for what all have said, once each is seen to have said it, and once only: a log may be rewritten later.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``, ``already-witnessed``.
            TamperingError: if what was kept was damaged.
        """
        try:
            said = verify_sites(payload.statement, self.charter, _LIST)
        except TamperingError as error:
            raise _bad(error) from error
        self._require_own(site.name for site in said.sites)
        self._require_same(payload.statement)
        return Cosign(attest(payload.statement, self.identity).sig)

    def keep(self, payload: Cosigned) -> None:
        """Put it beside the release: others' copies are what a log cannot be rewritten against.

        The first that enough have signed stays: who comes later with another may have rewritten a log in between.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``, ``too-few-signatures``, ``already-witnessed``.
            InputError: ``unwritable``.
            TamperingError: if what was kept was damaged.
        """
        try:
            signed = read_signed(payload.signed, _LIST)
            found = verify_checkpoints(signed, self.charter)
        except TamperingError as error:
            raise _bad(error) from error
        self._require_own(found.by_name)
        if not is_vouched_for(found, self.charter.charter):
            raise RemoteProtocolError(
                "too-few-signatures",
                f"{len(found.cosigned_by)} hospitals have signed the list of checkpoints: all of them could conspire.",
            )
        self._require_same(signed.payload, found.cosigned_by)
        write_atomically(self.release / CHECKPOINTS_FILE, payload.signed)

    def _require_own(self, names: Iterable[str]) -> None:
        if self.name not in names:
            raise RemoteProtocolError("bad-checkpoints", f"The list of checkpoints lacks that of {self.name}.")

    def _require_same(self, statement: bytes, cosigned_by: Iterable[str] | None = None) -> None:
        """Refuse another list than the one that was kept; of the same, one that lacks signatures."""
        path = self.release / CHECKPOINTS_FILE
        if not path.exists():
            return
        kept = read_signed(read_bounded(path, 2 * LARGEST_STATEMENT), str(path))
        signers = verify_checkpoints(kept, self.charter, str(path)).cosigned_by
        if kept.payload != statement or (cosigned_by is not None and not set(signers) <= set(cosigned_by)):
            raise RemoteProtocolError(
                "already-witnessed",
                "This hospital has kept a list of checkpoints that enough have signed, and takes no other.",
                culprit="the coordinator",
                remedy="Compare the hospitals' copies: a log that was rewritten since fits none of them.",
            )


def _bad(error: TamperingError) -> RemoteProtocolError:
    return RemoteProtocolError("bad-checkpoints", error.message, culprit=error.culprit, remedy=error.remedy)
