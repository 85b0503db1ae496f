"""A consortium of a charter's scheme: its parties share this process, and the meter reads what each spends.

Knows the order in which messages pass. Messages are handed on one by one, so that there is never more than one vector
in flight, as where hospitals answer over a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.sweep.case import Case
from benchmarks.sweep.charters import signed_charter
from benchmarks.sweep.codecs import codec_of
from benchmarks.sweep.cohort import COORDINATOR, survivors_of
from benchmarks.sweep.measurement import Phase
from benchmarks.sweep.meter import Meter, Stopwatch
from benchmarks.sweep.spared import SparedClient
from benchmarks.sweep.updates import Reals, Updates
from secagg.encoding.ring import RingVector
from secagg.labels import digest
from secagg.latch import Latch
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.states import ServerState
from training.choices import USUAL_EPOCH_ROUNDS

# Numbers masked or encrypted in a round, up to which everybody is real; about half a minute.
_MOST_NUMBERS: Final = 2e10
# As many masks take as long as it does to encrypt a number and to open one.
_ENCRYPTION: Final = 100
_REAL: Final = 8

Outbox = list[tuple[int, bytes]]


class Consortium:
    """Set up once, then any number of rounds up to `USUAL_EPOCH_ROUNDS`. Closes its latches as a context manager.

    Attributes:
        survivors: the same in every round.
        real: those who do everything; the others leave out masks that cancel, and do not open sums.
    """

    def __init__(self, folder: Path, case: Case) -> None:
        signed = signed_charter(case)
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
        self._meter = Meter(Stopwatch())

    def __enter__(self) -> Consortium:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def set_up(self, meter: Meter) -> None:
        """One key set-up."""
        self._meter = meter
        outbox = self._coordinator("set-up", self._server.open)
        while outbox:
            replies = list(self._hospitals("set-up", outbox, self._clients))
            outbox = self._answered("set-up", replies) if replies else []

    def run_round(self, number: int, meter: Meter) -> float:
        """The ``number``-th round, from 1; the error of its mean."""
        self._meter = meter
        model = digest("model", b"sweep", number)
        outbox = self._coordinator("round", lambda: self._server.begin(number))
        list(self._hospitals("round", outbox, self.survivors))
        outbox = []
        for hospital in self.survivors:
            outbox += self._received("round", hospital, self._masked(hospital, model))
        outbox = outbox or self._coordinator("round", self._server.timeout)
        while self._server.result is None:
            if self._server.state is ServerState.READY:
                raise self._server.fault or AssertionError("a round had no sum")
            outbox = self._answered("round", list(self._hospitals("round", outbox, self.survivors)))
        list(self._hospitals("round", outbox, self.real))
        for hospital, message in outbox:
            if hospital in self._spared:
                # Sent all the same, and not opened.
                self._meter.sent_down("round", hospital, len(message))
        means = [self._mean(hospital) for hospital in sorted(self.real)[:_REAL]]
        return self._updates.error(means[0], self.survivors)

    def _masked(self, hospital: int, model: bytes) -> bytes:
        update = self._updates.of(hospital)
        vectors = self._encoded(hospital, update)
        client = self._clients[hospital]
        with self._meter.of("round", hospital, sum(vector.nbytes for vector in vectors)):
            if hospital in self._spared:
                return client.mask_spared(vectors, model, self._spared)
            return client.mask(vectors[0], model, vectors[1:])

    def _encoded(self, hospital: int, update: Reals) -> list[RingVector]:
        with self._meter.of("encoding", hospital, update.nbytes):
            return self._codec.encode(update, self._clients[hospital].noise_keys())

    def _mean(self, hospital: int) -> Reals:
        taken = self._clients[hospital].take_sum()
        if taken is None:
            raise AssertionError("a hospital has no sum")
        with self._meter.of("encoding", hospital, taken.total.vector.nbytes):
            return self._codec.mean(taken.total.vector, len(self.survivors))

    def _coordinator(self, phase: Phase, work: Callable[[], Outbox]) -> Outbox:
        with self._meter.of(phase, COORDINATOR):
            return work()

    def _hospitals(self, phase: Phase, outbox: Outbox, present: Collection[int]) -> Iterator[tuple[int, bytes]]:
        for number, message in outbox:
            if number not in present:
                continue
            self._meter.sent_down(phase, number, len(message))
            with self._meter.of(phase, number, len(message)):
                replies = self._clients[number].receive(message)
            yield from ((number, reply) for reply in replies)

    def _answered(self, phase: Phase, replies: Outbox) -> Outbox:
        outbox = []
        for number, reply in replies:
            outbox += self._received(phase, number, reply)
        return outbox or self._coordinator(phase, self._server.timeout)

    def _received(self, phase: Phase, number: int, message: bytes) -> Outbox:
        self._meter.sent_up(phase, number, len(message))
        with self._meter.of(phase, COORDINATOR, len(message)):
            return self._server.receive(number, message)


def numbers_of(case: Case) -> float:
    """How many numbers all hospitals mask in a round; one that is encrypted and opened counts as `_ENCRYPTION`."""
    encrypted = case.encrypted or case.scheme == "nvflare"
    return case.hospitals * case.parameters * (case.peers + 1 + _ENCRYPTION * encrypted)
