"""The ledger's entries: what is written, and the labels under which each is chained to the one before and signed.

Knows schemas. Knows nothing of files or of budgets.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from dp.events import LARGEST_COUNT, Event, beyond, larger, merge
from secagg.signed_log import LogEntry, LogKind, Sha256


class Kind(StrEnum):
    """What an entry records.

    RESERVE: a run may spend up to this; CHARGE: a round is about to release something; COMMIT: the round's sum was
    applied; CLOSE: the run is over, and what its reservation holds beyond its charges was provably not used; RELEASE:
    an officer says so of a run that never ended, which has to reserve again before it goes on.
    UNPROTECTED: a round is about to release something without differential privacy: it costs no epsilon, because no
    epsilon covers it.
    """

    RESERVE = "reserve"
    CHARGE = "charge"
    COMMIT = "commit"
    CLOSE = "close"
    RELEASE = "release"
    UNPROTECTED = "unprotected"


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is spent of training patients and of validation patients; in one data set they are never the same."""

    training: tuple[Event, ...] = ()
    metrics: tuple[Event, ...] = ()

    def plus(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(merge((*self.training, *other.training)), merge((*self.metrics, *other.metrics)))

    def at_least(self, other: Cost) -> Cost:
        """A cost that covers either."""
        return Cost(larger(self.training, other.training), larger(self.metrics, other.metrics))

    def beyond(self, other: Cost) -> Cost:
        """What is missing in ``other`` for it to cover this."""
        return Cost(beyond(self.training, other.training), beyond(self.metrics, other.metrics))


NOTHING: Final = Cost()


class Entry(LogEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the ledger.

    Attributes:
        data_set: the hash of the list of its patients, not its name.
        run: the hash of the charter under which it is spent.
        round: 0 where the entry is about the whole run.
        salt: random, so that no two entries are the same, in two copies of a ledger either.
        origin: of an entry that was taken over from another ledger of this site, the hash of the entry there.
        origin_data_set: what the data set was called there, where an officer said which one here it was; the field
            is left out elsewhere.
        time: as the caller's clock had it; recorded, never relied on.
    """

    kind: Kind
    data_set: Sha256
    run: Sha256
    round: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)] = 0
    cost: Cost = NOTHING
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    time: Annotated[str, msgspec.Meta(max_length=40)]
    salt: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    origin: Sha256 | None = None
    origin_data_set: Sha256 | msgspec.UnsetType = msgspec.UNSET


LEDGER: Final = LogKind(
    Entry,
    reason="ledger",
    article="a",
    name="ledger",
    remedy="Nothing is trained on this site's data until an officer has looked into it.",
    put_back="Put the newest ledger back, or import an export of it that goes as far: `secagg budget import`.",
    chain_label=b"secagg ledger entry 1\n",
    signature_label=b"secagg ledger signature 1\n",
)
