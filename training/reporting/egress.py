"""What exactly left a site's building, counted from its egress log: by kind of message, by round and by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from secagg.egress import Direction, EgressEntry
from secagg.wire import Stage

KINDS: Final[Mapping[str, str]] = {
    "ADVERTISE": "public keys for one epoch, and hashes of the secrets that it shares in it",
    "DEAL": "its part of the keys that all have in common, shares of the keys that mask its updates, where they are "
    "masked, and of surplus noise where there is any, and when it saw another hospital last, encrypted for that one",
    "ACKNOWLEDGE": "a hash that shows that it has the same key of the epoch as the others, and not the key; with the "
    "public parameters of the encryption",
    "MASKED": "its update, or sums over its columns, with the counts that go with them: masked or encrypted",
    "AGREE": "its signature on the list of hospitals in a sum",
    "REVEAL": "what removes masks, and surplus noise where there is any, from the sum of all, and from nothing else",
    "REFUSAL": "a refusal, and the reason for it",
    "STATUS": "how far it is: its newest epoch and round, how many sums it has, a hash of what they made of the model, "
    "and for whom it has helped to open its next sum; a public key, where it may be handed what it missed",
    "SNAPSHOT": "the model and its progress, or the newest sum, encrypted for one hospital that was behind",
    "ATTEST": "a statement about the finished model, and its signature on that",
    "CHECKPOINT": "how long its logs are, and a hash of each, signed",
    "COSIGN": "its signature on everybody's checkpoints",
}
"""In words that need no protocol: what a hospital sends."""

Key = TypeVar("Key", bound=tuple[object, ...])


class StageFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The messages of one kind; ``holds``: what is in one, in plain words."""

    stage: str
    holds: str
    messages: int
    bytes: int


class RoundEgress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What left in one round; round 0 is what belongs to none. ``took``: SHA-256 of each sum taken in it: one at most,
    unless something is wrong."""

    charter: str
    round: int
    messages: int
    bytes: int
    took: tuple[str, ...]


class DayEgress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What left on one day (UTC, as the site's clock had it)."""

    day: str
    messages: int
    bytes: int


class EgressFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is shown of what left.

    Attributes:
        sums, snapshots: how many were taken in.
    """

    messages: int
    bytes: int
    stages: tuple[StageFacts, ...]
    rounds: tuple[RoundEgress, ...]
    days: tuple[DayEgress, ...]
    sums: int
    snapshots: int


def egress_of(entries: Sequence[EgressEntry]) -> EgressFacts:
    """What these entries come to."""
    sent = [entry for entry in entries if entry.direction is Direction.SENT]
    stages = _grouped(sent, lambda entry: (entry.stage,))
    days = _grouped(sent, lambda entry: (entry.time[:10],))
    took: dict[tuple[str, int], dict[str, None]] = defaultdict(dict)
    for entry in entries:
        # A sum is noted before it is applied: after a crash in between it is taken, and noted, again.
        if entry.took_sum:
            took[entry.charter, entry.round][entry.sha256] = None
    without: dict[tuple[str, int], list[EgressEntry]] = {place: [] for place in took}
    rounds = without | _grouped(sent, lambda entry: (entry.charter, entry.round))
    place_of = {charter: place for place, charter in enumerate(dict.fromkeys(entry.charter for entry in entries))}
    return EgressFacts(
        messages=len(sent),
        bytes=_bytes(sent),
        stages=tuple(
            StageFacts(name, KINDS.get(name, "a message of the protocol"), len(group), _bytes(group))
            for (name,), group in sorted(stages.items(), key=lambda item: _place(item[0][0]))
        ),
        rounds=tuple(
            RoundEgress(*place, len(group), _bytes(group), tuple(took.get(place, ())))
            for place, group in sorted(rounds.items(), key=lambda item: (place_of[item[0][0]], item[0][1]))
        ),
        days=tuple(DayEgress(day, len(group), _bytes(group)) for (day,), group in sorted(days.items())),
        sums=sum(map(len, took.values())),
        snapshots=sum(entry.took_snapshot for entry in entries),
    )


def _place(stage: str) -> tuple[int, str]:
    """In the order of the protocol; what it does not know, which a log may hold all the same, comes last."""
    return (list(Stage.__members__).index(stage) if stage in Stage.__members__ else len(Stage), stage)


def _grouped(entries: Iterable[EgressEntry], key: Callable[[EgressEntry], Key]) -> dict[Key, list[EgressEntry]]:
    groups: dict[Key, list[EgressEntry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return dict(groups)


def _bytes(entries: Iterable[EgressEntry]) -> int:
    return sum(entry.bytes for entry in entries)
