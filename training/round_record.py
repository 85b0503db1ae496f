"""What a coordinator can say about a round: who took part, who did not, and how many bytes it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from secagg.charter import VerifiedCharter
from secagg.charter.sections import MOST_MEMBERS
from secagg.errors import RemoteProtocolError
from secagg.masking import Purpose
from secagg.masking.messages import Refusal
from secagg.printable import printable

_LONGEST: Final = 300
_MOST_TOLD: Final = 3


class RefusalRecord(msgspec.Struct, frozen=True):
    """A hospital that answered with a refusal, whose message was refused, or for whose dealing a round failed."""

    member: str
    reason: str
    message: str

    @classmethod
    def of(cls, charter: VerifiedCharter, sender: int, refusal: Refusal | RemoteProtocolError) -> RefusalRecord:
        """What the member numbered ``sender`` answered, or what is wrong with it, in short: it may be of any length."""
        told = printable(refusal.message[:_LONGEST])
        return cls(charter.charter.member(sender).name, printable(refusal.reason), told)


def differing(refusals: Iterable[RefusalRecord]) -> list[tuple[tuple[str, str], list[str]]]:
    """The first three refusals that differ, as reason and message, each with the names of whose it is."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for refusal in refusals:
        found.setdefault((refusal.reason, refusal.message), {})[refusal.member] = None
    return [(told, list(names)) for told, names in found.items()][:_MOST_TOLD]


class RoundRecord(msgspec.Struct, frozen=True):
    """One round.

    Attributes:
        step: which sum it gave; 0 if it gave none.
        survivors: in the sum, by name; empty if there was none. In JSON ``cohort``.
        dropped: not in the sum; if there was none, those who sent no vector for it.
        silent: cut off, or silent, after they had sent their vector, before the masks came off.
        reason: why there was no sum, if there was none.
        bytes_up: sent by all hospitals together; ``bytes_down``: sent to them.
        seconds: of wall time.
    """

    round: int
    purpose: Purpose
    step: int
    survivors: tuple[str, ...] = msgspec.field(name="cohort")
    dropped: tuple[str, ...]
    silent: tuple[str, ...]
    refusals: tuple[RefusalRecord, ...]
    reason: str | None
    bytes_up: int
    bytes_down: int
    seconds: float

    def dropped_out(self, most: int = MOST_MEMBERS) -> str:
        """Who dropped out and when, with the reason of those who gave one; of each kind so many names at most."""
        reasons = {refusal.member: refusal.reason for refusal in self.refusals if refusal.member in self.dropped}
        without = tuple(name for name in self.dropped if name not in reasons)
        told = [some(without, most)] if without else []
        for reason in dict.fromkeys(reasons.values()):
            names = tuple(name for name in self.dropped if reasons.get(name) == reason)
            told.append(f"{some(names, most)} ({reason})")
        if self.silent:
            told.append(f"{some(self.silent, most)}, after sending")
        return "; ".join(told)


def some(names: Sequence[str], most: int) -> str:
    """Names in a row, so many at most."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def steps_summed(rounds: Iterable[RoundRecord]) -> frozenset[tuple[Purpose, int]]:
    """Purpose and step of every sum, each once: one that no hospital took is made again, charged, and no progress."""
    return frozenset((record.purpose, record.step) for record in rounds if record.step)


def newest_step(rounds: Iterable[RoundRecord]) -> int:
    """How many sums of training there are, by these records."""
    return max((record.step for record in rounds if record.purpose is Purpose.TRAINING), default=0)
