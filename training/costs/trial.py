"""A consortium of real parties in one process, and what each of them spends: CPU time, messages, bytes.

Knows how a consortium of any shape is set up. Knows nothing of what it should cost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from types import TracebackType
from typing import Any, Self

import numpy as np

from secagg.charter import Encoding, Homomorphic, Model, NeighbourGraph
from secagg.errors import LocalProtocolError
from secagg.masking.sizes import Shape, Traffic
from secagg.masking.states import ClientState, ServerState
from secagg.wire import COORDINATOR
from training.testbed.consortium import MODEL_DIGEST, Consortium
from training.testbed.meter import Meter, Phase, Stopwatch
from training.testbed.metered_phase import MeteredPhase
from training.testbed.toy_noise import noisy


@dataclass(frozen=True)
class PhaseCost:
    """What one phase took.

    Attributes:
        hospital, coordinator: CPU seconds, of the median hospital and of the coordinator.
        traffic: of an average hospital that did not drop out.
    """

    hospital: float
    coordinator: float
    traffic: Traffic


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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consortium.close()

    def set_up(self) -> PhaseCost:
        """A key set-up, in which all take part."""
        phase = self._phase("set-up")
        phase.set_up()
        self._require(phase.server.state is ServerState.READY)
        return _cost_of(phase, phase.clients)

    def round(self) -> PhaseCost:
        """The next round. Those who drop out have had no word of it."""
        phase, clients = self._phase("round"), self._consortium.clients
        alive = sorted(set(clients) - self.gone)

        def masked(number: int) -> bytes:
            with phase.meter.of("round", number):
                return clients[number].mask(*self._consortium.with_noise(number, self._vector))

        for number, message in phase.sum_up(phase.server.step + 1, masked, alive):
            phase.to_hospitals([(number, message)], alive)
            # At once: nobody keeps the sums of many hospitals.
            clients[number].take_sum()
        self._require(all(clients[number].state is ClientState.READY for number in alive))
        return _cost_of(phase, alive)

    def _phase(self, name: Phase) -> MeteredPhase:
        return MeteredPhase(name, Meter(Stopwatch()), self._consortium.server, self._consortium.clients)

    def _require(self, done: bool) -> None:
        if not done:
            raise LocalProtocolError("out-of-turn", f"A trial came to no end: {self._consortium.server.fault}.")


def _cost_of(phase: MeteredPhase, hospitals: Collection[int]) -> PhaseCost:
    books = phase.meter.books
    spent = [books[phase.name, number] for number in hospitals]
    traffic = Traffic(
        mean(one.messages_up for one in spent),
        mean(one.messages_down for one in spent),
        mean(one.bytes_up for one in spent),
        mean(one.bytes_down for one in spent),
    )
    return PhaseCost(median(one.cpu for one in spent), books[phase.name, COORDINATOR].cpu, traffic)


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
