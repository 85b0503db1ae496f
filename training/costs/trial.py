"""A consortium of real parties in one process, and what each of them spends: CPU time, messages, bytes.

Knows the protocol's two sides and which of them is at work. Knows nothing of what it should cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from secagg.charter import Encoding, Homomorphic, Model, NeighbourGraph
from secagg.errors import LocalProtocolError
from secagg.masking.sizes import Shape, Traffic
from secagg.masking.states import ClientState, ServerState
from training.testbed.consortium import MODEL_DIGEST, Consortium
from training.testbed.toy_noise import noisy

Outbox = list[tuple[int, bytes]]
_COORDINATOR: Final = 0


@dataclass(frozen=True)
class Spent:
    """What one phase took.

    Attributes:
        hospital, coordinator: CPU seconds, of the median hospital and of the coordinator.
        traffic: of an average hospital that did not drop out.
    """

    hospital: float
    coordinator: float
    traffic: Traffic


@dataclass
class _Tally:
    seconds: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    up: int = 0
    down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @contextmanager
    def of(self, party: int) -> Iterator[None]:
        started = process_time()
        yield
        self.seconds[party] += process_time() - started

    def spent(self, hospitals: Collection[int]) -> Spent:
        totals = (self.up, self.down, self.bytes_up, self.bytes_down)
        traffic = Traffic(*(total / len(hospitals) for total in totals))
        return Spent(median(self.seconds[number] for number in hospitals), self.seconds[_COORDINATOR], traffic)


class Trial:
    """The parties of one consortium of this shape. Closes the hospitals' latches as a context manager.

    Args:
        folder: an empty one.
        colluding: c; the shape's threshold must be safe for it.
    """

    def __init__(self, folder: Path, shape: Shape, colluding: int = 1) -> None:
        self._shape = shape
        self._consortium = Consortium.make(folder, shape.members, max_colluding=colluding, **_terms(shape))
        generator = np.random.default_rng(1)
        self.gone = frozenset(range(1, shape.dropped + 1))
        # One vector for all: those of a large consortium would not fit the memory of one machine.
        session = self._consortium.server.session
        largest = session.ring.largest // shape.members
        self._vector = session.ring.from_signed(generator.integers(-largest, largest + 1, session.length))
        self._tally = _Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consortium.close()

    def set_up(self) -> Spent:
        """A key set-up, in which all take part."""
        self._tally = _Tally()
        with self._tally.of(_COORDINATOR):
            outbox = self._consortium.server.open()
        while outbox:
            outbox = self._to_coordinator(self._to_hospitals(outbox, frozenset()))
        self._require(self._consortium.server.state is ServerState.READY)
        return self._tally.spent(self._consortium.clients)

    def round(self) -> Spent:
        """The next round. Those who drop out have had no word of it."""
        server, clients = self._consortium.server, self._consortium.clients
        self._tally = _Tally()
        with self._tally.of(_COORDINATOR):
            outbox = server.begin(server.step + 1)
        self._to_hospitals(outbox, self.gone)
        alive = sorted(set(clients) - self.gone)
        outbox = []
        for number in alive:
            with self._tally.of(number):
                message = clients[number].mask(*self._noisy(number))
            # At once: nobody keeps the vectors of many hospitals.
            outbox += self._to_coordinator([(number, message)])
        outbox = outbox or self._without_the_others()
        while outbox:
            outbox = self._to_coordinator(self._to_hospitals(outbox, self.gone))
        done = all(clients[number].state is ClientState.READY for number in alive)
        self._require(done and server.result is not None)
        return self._tally.spent(alive)

    def _require(self, done: bool) -> None:
        if not done:
            raise LocalProtocolError("out-of-turn", f"A trial came to no end: {self._consortium.server.fault}.")

    def _noisy(self, number: int) -> Any:
        return self._consortium.with_noise(number, self._vector)

    def _to_hospitals(self, outbox: Outbox, gone: Collection[int]) -> Outbox:
        replies: Outbox = []
        for number, message in outbox:
            if number in gone:
                continue
            client = self._consortium.clients[number]
            with self._tally.of(number):
                answers = client.receive(message)
            # Nobody keeps a sum either.
            client.take_sum()
            self._tally.down += 1
            self._tally.bytes_down += len(message)
            replies += [(number, answer) for answer in answers]
        return replies

    def _to_coordinator(self, replies: Outbox) -> Outbox:
        outbox: Outbox = []
        for number, reply in replies:
            with self._tally.of(_COORDINATOR):
                outbox += self._consortium.server.receive(number, reply)
            self._tally.up += 1
            self._tally.bytes_up += len(reply)
        return outbox

    def _without_the_others(self) -> Outbox:
        with self._tally.of(_COORDINATOR):
            return self._consortium.server.timeout()


def _terms(shape: Shape) -> dict[str, Any]:
    """What a charter of this shape says."""
    terms: dict[str, Any] = noisy(*shape.noise_levels) if shape.noise_levels else {}
    return terms | {
        "graph": NeighbourGraph.of(shape.graph),
        "threshold": shape.threshold,
        "scheme": shape.scheme,
        "homomorphic": Homomorphic(parameters=shape.parameter_set),
        "model": Model(digest=MODEL_DIGEST, parameters=shape.length - 1),
        "encoding": Encoding(field_bits=shape.bits),
        "epoch_rounds": shape.rounds,
    }
