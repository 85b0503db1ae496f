"""A consortium of a charter's scheme: its parties share this process, and the meter reads what each spends.

Knows who is real, and what a round's vectors are made of.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.sweep.case import Case
from benchmarks.sweep.charters import signed_charter
from benchmarks.sweep.codecs import codec_of
from benchmarks.sweep.cohort import survivors_of
from benchmarks.sweep.spared import SparedClient
from benchmarks.sweep.updates import Reals, Updates
from secagg.labels import digest
from secagg.latch import Latch
from secagg.masking import MaskingServer, Purpose, Session
from training.choices import USUAL_EPOCH_ROUNDS
from training.testbed.meter import Meter
from training.testbed.metered_phase import MeteredPhase

# Numbers masked or encrypted in a round, up to which everybody is real; about half a minute.
_MOST_NUMBERS: Final = 2e10
# As many masks take as long as it does to encrypt a number and to open one.
_ENCRYPTION: Final = 100
_REAL: Final = 8


class Consortium:
    """Set up once, then any number of rounds up to `USUAL_EPOCH_ROUNDS`. Closes its latches as a context manager.

    Attributes:
        survivors: the same in every round.
        real: those who do everything; the others leave out masks that cancel, and do not open sums.
        field_bits: of the numbers that are added up.
    """

    def __init__(self, folder: Path, case: Case) -> None:
        signed = signed_charter(case)
        self.field_bits = signed.charter.charter.encoding.field_bits
        self._opened = ExitStack()
        self._clients: dict[int, SparedClient] = {}
        for number, identity in enumerate(signed.identities, 1):
            latch = self._opened.enter_context(Latch(folder / f"latch{number}.sqlite"))
            self._clients[number] = SparedClient(signed.charter, identity, latch, signed.policy)
        self._codec = codec_of(signed.charter.charter)
        self._updates = Updates(case.parameters, self._codec.norm)
        session = Session(signed.charter, 1, Purpose.TRAINING, 1, USUAL_EPOCH_ROUNDS)
        self._server = MaskingServer(session, noise=self._codec.expansion)
        self.survivors = survivors_of(case)
        self.real = frozenset(self.survivors if numbers_of(case) <= _MOST_NUMBERS else self.survivors[:_REAL])
        self._spared = frozenset(self.survivors) - self.real

    def __enter__(self) -> Consortium:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def set_up(self, meter: Meter) -> None:
        """One key set-up."""
        MeteredPhase("set-up", meter, self._server, self._clients).set_up()

    def run_round(self, number: int, meter: Meter) -> float:
        """The ``number``-th round, from 1; the error of its mean."""
        phase = MeteredPhase("round", meter, self._server, self._clients)
        model = digest("model", b"sweep", number)
        outbox = phase.sum_up(number, lambda hospital: self._masked(hospital, model, meter), self.survivors)
        phase.to_hospitals(outbox, self.real)
        for hospital, message in outbox:
            if hospital in self._spared:
                # Sent all the same, and not opened.
                meter.sent_down("round", hospital, len(message))
        first, *others = sorted(self.real)
        mean = self._mean(first, meter)
        for hospital in others:
            # Theirs is the same. Not kept: those of many hospitals would not fit.
            self._mean(hospital, meter)
        return self._updates.error(mean, self.survivors)

    def _masked(self, hospital: int, model: bytes, meter: Meter) -> bytes:
        update, client = self._updates.of(hospital), self._clients[hospital]
        with meter.of("encoding", hospital, update.nbytes):
            vectors = self._codec.encode(update, client.noise_keys())
        with meter.of("round", hospital, sum(vector.nbytes for vector in vectors)):
            if hospital in self._spared:
                return client.mask_spared(vectors, model, self._spared)
            return client.mask(vectors[0], model, vectors[1:])

    def _mean(self, hospital: int, meter: Meter) -> Reals:
        taken = self._clients[hospital].take_sum()
        if taken is None:
            raise AssertionError("a hospital has no sum")
        with meter.of("encoding", hospital, taken.total.vector.nbytes):
            return self._codec.mean(taken.total.vector, len(self.survivors))


def numbers_of(case: Case) -> float:
    """How many numbers all hospitals mask in a round; one that is encrypted and opened counts as `_ENCRYPTION`."""
    encrypted = case.encrypted or case.scheme == "nvflare"
    return case.hospitals * case.parameters * (case.peers + 1 + _ENCRYPTION * encrypted)
