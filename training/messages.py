"""The payloads around the masking protocol: where a hospital is, what it missed, release and logs.

Knows schemas and their sizes. The envelopes are `secagg.wire`'s.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from secagg.charter.sections import MOST_MEMBERS
from secagg.labels import Digest
from secagg.masking.messages import KEY_SIZE, Key
from secagg.signed_log import Sha256
from secagg.wire.envelope import Counter, Party
from training.reached import Reached

KeyOrNone = Annotated[bytes, msgspec.Meta(max_length=KEY_SIZE)]

STATUS_LIMIT = 4 * 1024
"""Bytes of the largest payload of a STATUS."""
SMALL_ANSWER = 8 * 1024
"""Bytes of the largest payload that a hospital answers with outside every epoch, attestations and snapshots aside: a
REFUSAL of 1,024 letters of up to four bytes."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of the largest payload outside every epoch, those of sums and snapshots aside."""


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A payload: a MessagePack array of its fields, in order."""


class Query(_Payload, frozen=True):
    """Coordinator to all: where are you?"""


class Status(_Payload, frozen=True):
    """Hospital to coordinator.

    Attributes:
        epoch: the newest it has entered.
        round: the newest it has masked or paid for.
        statistics: how many sums of feature statistics it has.
        steps: how many sums it has applied to its model.
        finished: whether it has all the sums it wants: the charter's, or enough to reach the target metric.
        state_digest: of all that these sums have made of it: `HospitalState.digest`.
        snapshot_key: X25519, for a snapshot that may come; new in every answer to QUERY. Empty in other STATUS, and
            where hospitals catch up by sums.
        revealed_for: the survivors of the sum that is next for it, ascending, if it has given shares of that sum or
            opened it; empty if it has not, and among neighbours.
    """

    epoch: Counter
    round: Counter
    statistics: Counter
    steps: Counter
    finished: bool
    state_digest: Digest
    snapshot_key: KeyOrNone
    revealed_for: Annotated[tuple[Party, ...], msgspec.Meta(max_length=MOST_MEMBERS)]

    @property
    def reached(self) -> Reached:
        """The numbers of sums."""
        return Reached(self.statistics, self.steps)


class Endorsed(_Payload, frozen=True):
    """Coordinator to one hospital: others' signed Status envelopes, who are where what it missed has led it."""

    statuses: Annotated[list[memoryview], msgspec.Meta(max_length=MOST_MEMBERS)]


class AskSnapshot(_Payload, frozen=True):
    """Coordinator to one hospital: the signed Status envelope of one that is behind, with a key to seal for."""

    status: memoryview


class Snapshot(_Payload, frozen=True):
    """Hospital to one that is behind, through the coordinator: what that one lacks.

    Attributes:
        donor_key: X25519, made for this message.
        sealed: AES-256-GCM of `training.snapshot_content.SnapshotContent`.
    """

    donor_key: Key
    sealed: memoryview


class Conclude(_Payload, frozen=True):
    """Coordinator to all: training is over; ``rounds`` were run. Attest to the model."""

    rounds: Counter


class Attest(_Payload, frozen=True):
    """Hospital to coordinator: its statement about its model, and its signature in DSSE."""

    statement: bytes
    signature: bytes


class Release(_Payload, frozen=True):
    """Coordinator to all: the statement with everybody's signatures, as the DSSE file's bytes."""

    signed: bytes


class Checkpoint(_Payload, frozen=True):
    """Hospital to coordinator, once it has kept the release: how far its logs have come.

    Attributes:
        ledger_root, egress_root: the tree hashes, hexadecimal.
        signature: see `secagg.release.checkpoints`.
    """

    ledger_entries: Counter
    ledger_root: Sha256
    egress_entries: Counter
    egress_root: Sha256
    signature: bytes


class Witness(_Payload, frozen=True):
    """Coordinator to all: what all have said of their logs, as the statement's bytes."""

    statement: bytes


class Cosign(_Payload, frozen=True):
    """Hospital to coordinator: its signature over that statement, in DSSE."""

    signature: bytes


class Cosigned(_Payload, frozen=True):
    """Coordinator to all: the statement with everybody's signatures, as the DSSE file's bytes."""

    signed: bytes
