"""What a hospital says at the end of a run about its own logs, and what it keeps of what all have said.

Knows its ledger, its egress log and the release folder. Nothing of it decides about a model or a sum: without it a
release is as good, but whoever has the hospital's key can rewrite a log later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dp.ledger import Ledger
from secagg.charter import VerifiedCharter
from secagg.egress import EgressLog
from secagg.errors import RemoteProtocolError, TamperingError
from secagg.files import PRIVATE, read_bounded, write_atomically
from secagg.identity import Identity
from secagg.log_excerpt import checkpoint_of
from secagg.release.checkpoints import (
    CHECKPOINTS_FILE,
    VerifiedCheckpoints,
    checkpoints_statement,
    holds_checkpoints,
    is_vouched_for,
    read_checkpoints,
    sign_checkpoint,
    verify_checkpoints,
    verify_sites,
)
from secagg.release.dsse import LARGEST_STATEMENT, attest, read_envelope
from secagg.transcript.files import FileCheckpoint
from training.messages import Checkpoint, Cosign, Cosigned, Witness

_LIST: Final = "The list of checkpoints"


@dataclass(frozen=True)
class Checkpointing:
    """One hospital's part.

    Attributes:
        name: its own, in the charter.
        release: the folder of the release, where the checkpoints go too.
        witnessed: the file that holds the one list which this hospital signs or keeps; there is none before.
    """

    charter: VerifiedCharter
    name: str
    identity: Identity
    ledger: Ledger
    egress: EgressLog
    release: Path
    witnessed: Path

    def take(self) -> Checkpoint:
        """How far this hospital's logs have come."""
        ledger, egress = checkpoint_of(self.ledger.entries), checkpoint_of(self.egress.entries)
        signed = sign_checkpoint(self.charter, self.name, ledger, egress, self.identity)
        return Checkpoint(ledger.entries, ledger.root, egress.entries, egress.root, signed.signature)

    def cosign(self, payload: Witness) -> Cosign:
        """Sign for what all have said, once each is seen to have said it, and for no other list ever.

        Between two lists a log may have been rewritten. Which one it is is on disk before it is signed.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``, ``already-witnessed``.
            InputError: ``unwritable``.
            TamperingError: if what was kept was damaged.
        """
        try:
            said = verify_sites(payload.statement, self.charter, _LIST)
        except TamperingError as error:
            raise _bad(error) from error
        self._require_own(site.name for site in said.sites)
        self._require_transcript(said.transcript)
        self._go_by(payload.statement)
        return Cosign(attest(payload.statement, self.identity).sig)

    def keep(self, payload: Cosigned) -> None:
        """Put it beside the release: others' copies are what a log cannot be rewritten against.

        It is the one that this hospital has signed, if it was asked to. One that it keeps with signatures that this one
        lacks stays.

        Raises:
            RemoteProtocolError: ``bad-checkpoints``, ``too-few-signatures``, ``already-witnessed``.
            InputError: ``unwritable``.
            TamperingError: if what was kept was damaged.
        """
        try:
            signed = read_envelope(payload.signed, _LIST)
            found = verify_checkpoints(signed, self.charter)
        except TamperingError as error:
            raise _bad(error) from error
        self._require_own(found.by_name)
        self._require_transcript(found.transcript)
        if not is_vouched_for(found, self.charter.charter):
            raise RemoteProtocolError(
                "too-few-signatures",
                f"{len(found.cosigned_by)} hospitals have signed the list of checkpoints, so few that all of them "
                "could collude.",
                remedy="The release is valid without it. Ask the coordinator for the list once enough hospitals have "
                "signed.",
            )
        self._go_by(signed.payload)
        if not self._keeps_signatures_beyond(found):
            write_atomically(self.release / CHECKPOINTS_FILE, payload.signed)

    def _require_own(self, names: Iterable[str]) -> None:
        if self.name not in names:
            raise RemoteProtocolError("bad-checkpoints", f"The list of checkpoints lacks that of {self.name}.")

    def _require_transcript(self, files: Sequence[FileCheckpoint]) -> None:
        """Whether that is all of it a hospital cannot know: an audit sees that."""
        if not files:
            raise RemoteProtocolError("bad-checkpoints", "The list of checkpoints names no file of the transcript.")

    def _go_by(self, statement: bytes) -> None:
        """Take this list for the one, unless there is one."""
        self._require_same(statement)
        write_atomically(self.witnessed, statement, PRIVATE)

    def _require_same(self, statement: bytes) -> None:
        if self._first not in (None, statement):
            raise _witnessed("This hospital has signed or kept another list of checkpoints, and takes no second one.")

    def _keeps_signatures_beyond(self, found: VerifiedCheckpoints) -> bool:
        kept = self._kept
        return kept is not None and not set(kept.cosigned_by) <= set(found.cosigned_by)

    @property
    def _first(self) -> bytes | None:
        if self.witnessed.exists():
            return read_bounded(self.witnessed, LARGEST_STATEMENT)
        kept = self._kept
        return checkpoints_statement(self.charter, kept.by_name.values(), kept.transcript) if kept else None

    @property
    def _kept(self) -> VerifiedCheckpoints | None:
        return read_checkpoints(self.release, self.charter) if holds_checkpoints(self.release) else None


def _witnessed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        "already-witnessed",
        what,
        culprit="the coordinator",
        remedy="Compare the hospitals' copies: a log that was rewritten since fits none of them.",
    )


def _bad(error: TamperingError) -> RemoteProtocolError:
    return RemoteProtocolError("bad-checkpoints", error.message, culprit=error.culprit, remedy=error.remedy)
