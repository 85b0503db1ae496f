"""Attacks by snapshots: hospitals are led back by a sum and on to the same model, where another cohort is summed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from secagg.encoding import unpack
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.messages import Sum
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import Endorsed, Query, Status
from training.pump import Pump
from training.testbed.build import Build

if TYPE_CHECKING:
    from training.attacks.ward import Party, Ward
    from training.hospital_state import HospitalState

VICTIM: Final = 1
COLLUDER: Final = 6
_ROUNDS: Final = 5
# More than any hospital has patients: each trains on all of them in every step, and so twice to the same end.
_ALL_PATIENTS: Final = 64
# In steps of the grid: sums of the same numbers in another order.
_ROUNDING: Final = 4
_ANY_SIZE: Final = 1 << 24
_SIGNED_INTEGERS = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Place:
    """Where all hospitals were after a sum.

    Attributes:
        state: as the colluder has it.
        words: what all have signed of being there, by number.
    """

    state: HospitalState
    words: Mapping[int, bytes]


@dataclass
class _Run:
    """One epoch of the hospitals of a ward, round after round."""

    ward: Ward
    server: MaskingServer
    tries: Tries

    @classmethod
    def of(cls, ward: Ward) -> _Run:
        """One that is set up."""
        server = MaskingServer(Session(ward.charter, 1, Purpose.TRAINING, 1, _ROUNDS))
        run = cls(ward, server, Tries(Refuser.HOSPITAL))
        Pump(run._engine(()), server, 0, lambda _event: None).run(server.open())
        return run

    def _engine(self, away: Collection[DropOut]) -> EmbeddedEngine:
        return EmbeddedEngine({number: party.hospital for number, party in self.ward.parties.items()}, away)

    @property
    def colluder(self) -> Party:
        """The hospital that colludes."""
        return self.ward.parties[COLLUDER]

    @property
    def honest(self) -> list[int]:
        """The numbers of all others."""
        return [number for number in self.ward.parties if number != COLLUDER]

    def sum_of(
        self,
        step: int,
        phase: Phase = Phase.MASK,
        away: Collection[int] = (),
        before_reveal: Callable[[tuple[int, ...]], None] = lambda _cohort: None,
    ) -> _SIGNED_INTEGERS | None:
        """The next round's sum as the colluder opens it, if there is one; who is ``away`` misses that phase."""
        number = self.server.round + 1
        engine = self._engine([DropOut(member, number, phase) for member in away])
        pump = Pump(engine, self.server, number, lambda _event: None)
        pump.run(self.server.begin(step), before_reveal=before_reveal)
        self.tries.reasons.update(refusal.reason for refusal in pump.refusals)
        if self.server.result is None:
            return None
        session = self.server.session
        payload = open_envelope(self.colluder.hospital.state.last_sum, self.ward.charter, _ANY_SIZE).payload
        return session.ring.to_signed(unpack(decode(payload, Sum).vector, session.length, session.ring))

    def reach(self, step: int) -> _Place:
        """Give out the sum of ``step``, and have all say where they are then."""
        self.sum_of(step)
        return _Place(self.colluder.hospital.state, self._ask_where_they_are())

    def lead_to(self, place: _Place) -> None:
        """Hand all others an earlier state, which their own words of then endorse, and take it as well."""
        self.lead_others_to(place)
        self.colluder.hospital._state = place.state

    def lead_others_to(self, place: _Place) -> None:
        """Hand it to all but the hospital that colludes."""
        self.hand_to_others(place)
        self.endorse_to_others(place)

    def hand_to_others(self, place: _Place) -> None:
        """Send them the colluder's snapshot of it, which waits until others vouch for it."""
        from training.snapshot_content import content_of_state
        from training.snapshots import Route, seal_snapshot

        sealer = self.ward.signed(COLLUDER, self.server.session)
        content = content_of_state(place.state, self.ward.charter.charter)
        asked = self._ask_where_they_are()
        for number in self.honest:
            status = decode(open_envelope(asked[number], self.ward.charter, _ANY_SIZE).payload, Status)
            route = Route(self.ward.charter, COLLUDER, number)
            snapshot = seal_snapshot(route, content, status.snapshot_key, os.urandom)
            self.tries(self.ward.parties[number].receive, sealer.seal(Stage.SNAPSHOT, snapshot, recipient=number))

    def endorse_to_others(self, place: _Place) -> None:
        """Send them all words of having been there."""
        words = [memoryview(word) for word in place.words.values()]
        endorsed = self.ward.forge(Stage.ENDORSED, Endorsed(words))
        for number in self.honest:
            self.tries(self.ward.parties[number].receive, endorsed)

    def have_all(self, sums: int) -> bool:
        """Whether all others have so many sums."""
        return all(self.ward.parties[number].hospital.state.sums == sums for number in self.honest)

    def victims_vector(self, place: _Place) -> _SIGNED_INTEGERS:
        """What the victim adds to the sum that follows on a state."""
        contributor = self.ward.parties[VICTIM].hospital._contributor
        vector = contributor.update(place.state, place.state.sums + 1, ())
        return self.server.session.ring.to_signed(vector.elements)

    def _ask_where_they_are(self) -> dict[int, bytes]:
        query = self.ward.forge(Stage.QUERY, Query())
        return {number: party.receive(query)[0] for number, party in self.ward.parties.items()}


_Sums = tuple[_SIGNED_INTEGERS | None, _SIGNED_INTEGERS | None]
_Way = Callable[[_Run, _Place, _Place], _Sums]


def _attack(folder: Path, way: _Way) -> Outcome:
    """Two sums of all; then the third, once with the victim and once without it, which differ by its vector."""
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward

    with Ward.open(
        folder, hospitals=6, rounds=_ROUNDS, standardise="none", scheme="double-lock", batch_size=_ALL_PATIENTS
    ) as ward:
        run = _Run.of(ward)
        first, second = run.reach(1), run.reach(2)
        with_victim, without = way(run, first, second)
        guess = None if with_victim is None or without is None else with_victim - without
        return run.tries.outcome(recovered(guess, run.victims_vector(second), "h1's vector", _ROUNDING))


def led_back(_build: Build, folder: Path) -> Outcome:
    """The third sum is kept from all others, who are led back before the second; the third is then another's."""

    def way(run: _Run, first: _Place, _second: _Place) -> _Sums:
        with_victim = run.sum_of(3, Phase.APPLY, away=run.honest)
        run.lead_to(first)
        if not run.have_all(1):
            return with_victim, None
        run.sum_of(2)
        return with_victim, run.sum_of(3, away=[VICTIM])

    return _attack(folder, way)


def led_back_with_the_sum(_build: Build, folder: Path) -> Outcome:
    """All have the same model by other rounds, take the third sum, and are led to where it had not been taken yet."""

    def way(run: _Run, first: _Place, second: _Place) -> _Sums:
        run.lead_to(first)
        run.sum_of(2)
        with_victim = run.sum_of(3)
        run.lead_to(second)
        return with_victim, run.sum_of(3, away=[VICTIM])

    return _attack(folder, way)


def led_back_before_the_shares(_build: Build, folder: Path) -> Outcome:
    """All are led back when they have masked for the third sum, and then asked for the shares that open it."""

    def way(run: _Run, first: _Place, _second: _Place) -> _Sums:
        with_victim = run.sum_of(
            3, Phase.APPLY, away=run.honest, before_reveal=lambda _cohort: run.lead_others_to(first)
        )
        run.colluder.hospital._state = first.state
        run.sum_of(2)
        return with_victim, run.sum_of(3, away=[VICTIM])

    return _attack(folder, way)


def led_back_around_the_shares(_build: Build, folder: Path) -> Outcome:
    """All get the earlier state before they are asked for the third sum's shares, and the words for it afterwards."""

    def way(run: _Run, first: _Place, _second: _Place) -> _Sums:
        with_victim = run.sum_of(
            3, Phase.APPLY, away=run.honest, before_reveal=lambda _cohort: run.hand_to_others(first)
        )
        run.endorse_to_others(first)
        run.colluder.hospital._state = first.state
        if not run.have_all(1):
            return with_victim, None
        run.sum_of(2)
        return with_victim, run.sum_of(3, away=[VICTIM])

    return _attack(folder, way)


_OVER_ROUNDS = "What holds over several rounds"

ATTACKS: Final = (
    Attack(
        "led-back-by-a-snapshot",
        Liar.BOTH,
        "Leads all others back by a sum with their own old words, and on to the same model, to sum over others there.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "not-ahead", "nothing-to-endorse"),
        led_back,
    ),
    Attack(
        "led-back-with-the-sum",
        Liar.BOTH,
        "Gives all a sum, and then leads them to where they were before it by other rounds, to sum over others there.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "differencing"),
        led_back_with_the_sum,
    ),
    Attack(
        "led-back-before-the-shares",
        Liar.BOTH,
        "Leads all others back when they have masked, and asks for the shares then, to sum over others from one model.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "differencing"),
        led_back_before_the_shares,
    ),
    Attack(
        "led-back-around-the-shares",
        Liar.BOTH,
        "Hands all others an earlier state when they have masked, and has it vouched for once they have given shares.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "not-ahead"),
        led_back_around_the_shares,
    ),
)
