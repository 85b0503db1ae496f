"""The coordinator's part in checkpoints: it passes on what hospitals say about their logs, and what they sign of it.

Knows messages. What does not fit is left out: a release waits for none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.errors import TamperingError
from secagg.identity import fingerprint
from secagg.log_excerpt import LogCheckpoint
from secagg.release.checkpoints import (
    SiteCheckpoint,
    checkpoints_statement,
    enough_to_vouch,
    is_vouched_for,
    verify_checkpoints,
    verify_sites,
)
from secagg.release.dsse import LARGEST_STATEMENT, StatementSignature, assemble, is_signed_by
from secagg.transcript.files import FileCheckpoint, checkpoint_files
from secagg.wire import Stage
from training.engines.base import Exchange, Outbox
from training.messages import Checkpoint, Cosign, Cosigned, Witness
from training.statuses import outside_epochs, read_answers


@dataclass(frozen=True)
class CheckpointRelay:
    """Has the hospitals sign for one another's logs.

    Attributes:
        transcript: the folder of what the coordinator keeps.
        exchange: delivers messages outside every epoch, and gives what came back.
        read: what was found of the transcript before.
    """

    charter: VerifiedCharter
    transcript: Path
    exchange: Callable[[Outbox], Exchange]
    read: Sequence[FileCheckpoint] = ()

    def drawn_up(self, kept: Mapping[int, Checkpoint]) -> bytes | None:
        """A list of what those say that have kept the release, and of the transcript, which is on disk then.

        None if they are so few that no hospital would keep it: they would be bound to a list that is good for nothing.
        None too if it is longer than anybody reads.

        Raises:
            InputError: ``no-transcript``, ``unreadable``, ``unwritable``.
        """
        sites = [site for number, payload in kept.items() if self._is_sound(site := self._site(number, payload))]
        if not enough_to_vouch(len(sites), self.charter.charter.max_colluding):
            return None
        listed = checkpoints_statement(self.charter, sites, checkpoint_files(self.transcript, self.read))
        return listed if len(listed) <= LARGEST_STATEMENT else None

    def run(self, listed: bytes, there: Collection[int]) -> bool:
        """Have those sign the list that are in it and ``there``; whether enough have, and have kept the signatures.

        Only hospitals keep the signatures: as long as too few have them, they are asked for and given out again.

        Raises:
            TamperingError: if the list was damaged.
        """
        named = verify_sites(listed, self.charter, "The coordinator's list of checkpoints").sites
        members = [number for site in named if (number := self.charter.charter.number_of(site.name)) in there]
        answered = self._send(members, Stage.WITNESS, Witness(listed))
        signed = assemble(
            listed, self._signatures(listed, read_answers(self.charter, answered.inbox, Stage.COSIGN, Cosign))
        )
        if not is_vouched_for(verify_checkpoints(signed, self.charter), self.charter.charter):
            return False
        given = self._send(members, Stage.COSIGNED, Cosigned(signed.to_json()))
        # Who has kept them answers nothing.
        refused = {sender for sender, _ in given.inbox}
        kept = set(members) - given.dropped - refused
        return enough_to_vouch(len(kept), self.charter.charter.max_colluding)

    def _send(self, members: Iterable[int], stage: Stage, payload: Witness | Cosigned) -> Exchange:
        message = outside_epochs(self.charter).seal(stage, payload)
        return self.exchange([(number, message) for number in members])

    def _site(self, number: int, said: Checkpoint) -> SiteCheckpoint:
        return SiteCheckpoint(
            self.charter.charter.member(number).name,
            LogCheckpoint(said.ledger_entries, said.ledger_root),
            LogCheckpoint(said.egress_entries, said.egress_root),
            said.signature,
        )

    def _is_sound(self, site: SiteCheckpoint) -> bool:
        """Nobody would sign for a list with one that is not."""
        with suppress(TamperingError):
            verify_sites(checkpoints_statement(self.charter, [site]), self.charter, site.name)
            return True
        return False

    def _signatures(self, statement: bytes, said: Mapping[int, Cosign]) -> list[StatementSignature]:
        signatures = []
        for number, payload in said.items():
            key = self.charter.charter.member(number).public_key
            signature = StatementSignature(fingerprint(key), payload.signature)
            if is_signed_by(statement, signature, key):
                signatures.append(signature)
        return signatures
