"""An engine in memory with a network like weather: it loses, delays, repeats and reorders by a seeded plan.

In a calm it keeps the contract of `Engine`. In a storm it breaks it on purpose: messages come twice and late answers
turn up in later exchanges, for no secret and no sum may rest on an engine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from secagg.errors import SecaggError
from training.engines.base import Exchange, Outbox, Phase
from training.engines.embedded import Party


@dataclass(frozen=True)
class Weather:
    """The chance that a message, on its way there or back, is lost, late or repeated; and whether order is kept.

    Attributes:
        sheltered: phases whose own messages arrive; late ones of others still come in between.
    """

    lost: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    shuffled: bool = False
    sheltered: frozenset[Phase] = frozenset()


CALM = Weather()

Item = tuple[int, bytes]


@dataclass
class _Line:
    """One direction of the network."""

    weather: Weather
    chance: random.Random
    lost: set[int] = field(default_factory=set)
    _late: list[tuple[int, Item]] = field(default_factory=list)

    def carry(self, phase: Phase, items: Outbox) -> list[Item]:
        """What arrives now: most of ``items``, and what was late and has come at last."""
        self.lost = set()
        arrived = [item for wait, item in self._late if wait == 0]
        self._late = [(wait - 1, item) for wait, item in self._late if wait]
        for item in items:
            arrived += [item] if phase in self.weather.sheltered else self._carry_one(item)
        if self.weather.shuffled:
            self.chance.shuffle(arrived)
        return arrived

    def _carry_one(self, item: Item) -> list[Item]:
        fate, weather = self.chance.random(), self.weather
        if fate < weather.lost + weather.late:
            self.lost.add(item[0])
            if fate >= weather.lost:
                self._late.append((self.chance.randrange(4), item))
            return []
        if fate < weather.lost + weather.late + weather.repeated:
            if self.chance.random() < 0.5:
                self._late.append((self.chance.randrange(4), item))
                return [item]
            return [item, item]
        return [item]


class UnreliableEngine:
    """Carries messages to parties in this process, as the weather allows."""

    def __init__(self, parties: Mapping[int, Party], weather: Weather = CALM, seed: int = 0) -> None:
        chance = random.Random(seed)
        self._parties = parties
        self._there = _Line(weather, chance)
        self._back = _Line(weather, chance)

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """See `Engine.exchange`; only a calm keeps what is promised there."""
        answers: list[Item] = []
        dropped = {member for member, _ in outbox if member not in self._parties}
        for member, message in self._there.carry(phase, [item for item in outbox if item[0] not in dropped]):
            if member not in dropped:
                try:
                    answers += [(member, reply) for reply in self._parties[member].receive(message)]
                except SecaggError:
                    dropped.add(member)
        inbox = self._back.carry(phase, [item for item in answers if item[0] not in dropped])
        return Exchange(tuple(inbox), frozenset(dropped | self._there.lost | self._back.lost))
