"""An attack by snapshots: hospitals are led back by a sum and on to the same model, where another cohort is summed."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from secagg.encoding import unpack
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.messages import Sum
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.attacks.build import Build
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.attacks.stage import recovered
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import Endorsed, Query, Status
from training.pump import Pump

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


@dataclass
class _Run:
    """One epoch of the hospitals of a ward, round after round.

    Attributes:
        words: what hospitals have last signed of where they are, by number.
    """

    ward: Ward
    server: MaskingServer
    words: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, ward: Ward) -> _Run:
        """One that is set up."""
        run = cls(ward, MaskingServer(Session(ward.charter, 1, Purpose.TRAINING, 1, _ROUNDS)))
        Pump(run._engine(()), run.server, 0, lambda _event: None).run(run.server.open())
        return run

    def _engine(self, away: Collection[DropOut]) -> EmbeddedEngine:
        return EmbeddedEngine({number: party.hospital for number, party in self.ward.parties.items()}, away)

    @property
    def colluder(self) -> Party:
        """The hospital that conspires."""
        return self.ward.parties[COLLUDER]

    @property
    def honest(self) -> list[int]:
        """The numbers of all others."""
        return [number for number in self.ward.parties if number != COLLUDER]

    def sum_of(self, step: int, phase: Phase = Phase.MASK, away: Collection[int] = ()) -> npt.NDArray[np.int64]:
        """The next round's sum as the colluder opens it, as signed integers; who is ``away`` misses that phase."""
        number = self.server.round + 1
        engine = self._engine([DropOut(member, number, phase) for member in away])
        Pump(engine, self.server, number, lambda _event: None).run(self.server.begin(step))
        session = self.server.session
        payload = open_envelope(self.colluder.hospital.state.last_sum, self.ward.charter, _ANY_SIZE).payload
        return session.ring.to_signed(unpack(decode(payload, Sum).vector, session.length, session.ring))

    def ask_where_they_are(self) -> None:
        """Keep what all sign."""
        for number, party in self.ward.parties.items():
            (self.words[number],) = party.receive(self.ward.forge(Stage.QUERY, Query()))

    def lead_back(self, earlier: HospitalState, words: Collection[bytes], tries: Tries) -> bool:
        """Hand all others an earlier state, which their own words of then endorse; whether all have taken it."""
        from training.snapshot_content import content_of_state
        from training.snapshots import Route, seal_snapshot

        self.ask_where_they_are()
        endorsed = self.ward.forge(Stage.ENDORSED, Endorsed([memoryview(word) for word in words]))
        sealer = self.ward.signed(COLLUDER, self.server.session)
        content = content_of_state(earlier, self.ward.charter.charter)
        for number in self.honest:
            asked = decode(open_envelope(self.words[number], self.ward.charter, _ANY_SIZE).payload, Status)
            route = Route(self.ward.charter, COLLUDER, number)
            snapshot = seal_snapshot(route, content, asked.snapshot_key, os.urandom)
            tries(self.ward.parties[number].receive, sealer.seal(Stage.SNAPSHOT, snapshot, recipient=number))
            tries(self.ward.parties[number].receive, endorsed)
        self.colluder.hospital._state = earlier
        return all(self.ward.parties[number].hospital.state.steps == earlier.steps for number in self.honest)


def led_back(_build: Build, folder: Path) -> Outcome:
    """The third sum is kept from all others, who are led back before the second; the third is then another's."""
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward

    tries, guess = Tries(Refuser.HOSPITAL), None
    with Ward.open(
        folder, hospitals=6, rounds=_ROUNDS, standardise="none", scheme="double-lock", batch_size=_ALL_PATIENTS
    ) as ward:
        run = _Run.of(ward)
        run.sum_of(1)
        run.ask_where_they_are()
        earlier, words = run.colluder.hospital.state, list(run.words.values())
        run.sum_of(2)
        victim = ward.parties[VICTIM].hospital
        truth = run.server.session.ring.to_signed(victim._contributor.update(victim.state, 3, ()).elements)
        with_victim = run.sum_of(3, Phase.APPLY, away=run.honest)
        if run.lead_back(earlier, words, tries):
            run.sum_of(2)
            guess = with_victim - run.sum_of(3, away=[VICTIM])
        return tries.outcome(recovered(guess, truth, "h1's vector", _ROUNDING))


ATTACKS: Final = (
    Attack(
        "led-back-by-a-snapshot",
        Liar.BOTH,
        "Leads all others back by a sum with their own old words, and on to the same model, to sum over others there.",
        "What holds over several rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "not-ahead", "nothing-to-endorse"),
        led_back,
    ),
)
