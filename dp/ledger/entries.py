"""The ledger's entries: what is written, as canonical bytes, and how each is chained to the one before.

Knows schemas and hashes. Knows nothing of files or of budgets.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from dp.events import GaussianEvent, larger, merge

FIRST_PREVIOUS: Final = "0" * 64
_CHAIN_LABEL: Final = b"secagg ledger entry 1\n"
_SIGNATURE_LABEL: Final = b"secagg ledger signature 1\n"

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Kind(StrEnum):
    """What an entry records.

    RESERVE: a run may spend up to this; CHARGE: a round is about to release something; COMMIT: the round's sum was
    applied; CLOSE: the run is over, and what its reservation holds beyond its charges was provably not used.
    UNPROTECTED: a round is about to release something without differential privacy: it costs no epsilon, because no
    epsilon covers it.
    """

    RESERVE = "reserve"
    CHARGE = "charge"
    COMMIT = "commit"
    CLOSE = "close"
    UNPROTECTED = "unprotected"


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is spent of training patients and of validation patients, who are never the same."""

    training: tuple[GaussianEvent, ...] = ()
    metrics: tuple[GaussianEvent, ...] = ()

    def plus(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(merge((*self.training, *other.training)), merge((*self.metrics, *other.metrics)))

    def at_least(self, other: Cost) -> Cost:
        """A cost that covers either."""
        return Cost(larger(self.training, other.training), larger(self.metrics, other.metrics))


NOTHING: Final = Cost()


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the ledger.

    Attributes:
        sequence: from 1.
        data_set: its fingerprint, not its name.
        run: the hash of the charter under which it is spent.
        round: 0 where the entry is about the whole run.
        time: as the caller's clock had it; recorded, never relied on.
        previous: hash of the entry before.
    """

    sequence: Annotated[int, msgspec.Meta(ge=1)]
    kind: Kind
    data_set: Sha256
    run: Sha256
    round: Annotated[int, msgspec.Meta(ge=0)] = 0
    cost: Cost = NOTHING
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    time: Annotated[str, msgspec.Meta(max_length=40)]
    previous: Sha256

    def body(self) -> bytes:
        """The canonical bytes: JSON, sorted keys, no white space."""
        return msgspec.json.encode(self, order="sorted")


def chain_hash(body: bytes) -> str:
    """SHA-256, hexadecimal, that the next entry carries."""
    return hashlib.sha256(_CHAIN_LABEL + body).hexdigest()


def signed_bytes(body: bytes) -> bytes:
    """What the site signs of an entry."""
    return _SIGNATURE_LABEL + bytes.fromhex(chain_hash(body))
