"""What masking will cost a consortium before there is one: messages and bytes exactly, time as this machine would take.

Knows the protocol's operations and how often each party does them, and measures each for a moment. Knows nothing of
training.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secagg.charter.model import FEWEST_MEMBERS, smallest_threshold
from secagg.encoding.packing import packed_size
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.graph import COMPLETE_UP_TO, Graph, hiding_bound, recovery_bound, smallest_graph
from secagg.identity import Identity, is_valid_signature
from secagg.labels import label
from secagg.latch import Latch, Sighting
from secagg.masking import kdf, shamir
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from training.dropout import count_dropped

_MEASURED_BYTES = 1 << 20
_REPEATS = 5
_LATCH_WRITES = 5


@dataclass(frozen=True)
class Times:
    """Seconds, on this machine, one core each.

    Attributes:
        set_up: a hospital's part of a key set-up.
        hospital, coordinator: their parts of one round.
    """

    set_up: float
    hospital: float
    coordinator: float


@dataclass(frozen=True)
class Plan:
    """One way to run the consortium.

    Attributes:
        hiding, recovery: log2 of the bounds on what may fail at a set-up; -infinity where nothing can.
    """

    shape: Shape
    hiding: float
    recovery: float
    set_up: Traffic
    round: Traffic
    times: Times


@dataclass(frozen=True)
class Plans:
    """All with all, and with a few neighbours where that is possible.

    Attributes:
        sparse: None where only a complete graph would do.
    """

    complete: Plan
    sparse: Plan | None

    @property
    def chosen(self) -> Plan:
        """The one that a charter takes."""
        return self.sparse if self.sparse and self.complete.shape.members > COMPLETE_UP_TO else self.complete


def make_plans(
    members: int, parameters: int, colluding: int, dropout: float, rounds: int = 10, bits: int = 24
) -> Plans:
    """Plan for n hospitals and d parameters.

    Args:
        dropout: the share of hospitals that may be gone at once, in [0, 1).
        rounds: E, of a key set-up.
        bits: of a ring element.

    Raises:
        InputError: ``too-few-members``, ``too-many-colluding``, ``bad-dropout``, ``too-many-dropped``.
    """
    threshold = smallest_threshold(members, colluding)
    if members < FEWEST_MEMBERS:
        raise InputError(
            "too-few-members", f"A consortium has {FEWEST_MEMBERS} hospitals or more.", remedy="Add a hospital."
        )
    if threshold > members:
        raise InputError(
            "too-many-colluding",
            f"No threshold is safe for {members} hospitals of which {colluding} collude.",
            remedy=f"At most {members - 2} may.",
        )
    dropped = count_dropped(members, colluding, dropout)
    graph = smallest_graph(members, colluding, dropped)
    rates = _Rates.measured()
    complete = Shape(members, threshold, dropped, parameters + 1, bits, rounds, None)
    return Plans(
        Plan(complete, -math.inf, -math.inf, *_costs(complete, rates)), _sparse_plan(complete, graph, colluding, rates)
    )


def _sparse_plan(complete: Shape, graph: Graph | None, colluding: int, rates: _Rates) -> Plan | None:
    if graph is None:
        return None
    members = complete.members
    shape = Shape(members, complete.threshold, complete.dropped, complete.length, complete.bits, complete.rounds, graph)
    hiding = hiding_bound(members, colluding, graph)
    return Plan(shape, hiding, recovery_bound(members, complete.dropped, graph), *_costs(shape, rates))


def _costs(shape: Shape, rates: _Rates) -> tuple[Traffic, Traffic, Times]:
    times = Times(_set_up_time(shape, rates), _hospital_time(shape, rates), _coordinator_time(shape, rates))
    return set_up_traffic(shape), round_traffic(shape), times


def _set_up_time(shape: Shape, rates: _Rates) -> float:
    # In a complete graph a hospital holds a share of its own.
    points = range(1, shape.holders + (1 if shape.graph else 2))
    sharing = _seconds(lambda: shamir.share(bytes(32), shape.share_threshold, points, os.urandom), at_most=_REPEATS)
    keys = (shape.rounds + 1) * rates.agreement
    digests = 4 * shape.rounds * shape.holders * rates.digest
    dealing = shape.holders * (2 * rates.agreement + rates.signature + rates.verification)
    rosters = (shape.peers + 1) * rates.verification
    return keys + digests + dealing + rosters + 2 * shape.rounds * sharing + 2 * rates.record


def _hospital_time(shape: Shape, rates: _Rates) -> float:
    size = packed_size(shape.length, shape.bits)
    wide = shape.length * Ring(shape.bits).dtype.itemsize
    masking = (shape.peers + 1) * (wide / rates.keystream + rates.agreement)
    # The tag of what is sent and that of the sum: a keystream of eight bytes an element, and hashing what travels.
    tags = 2 * (8 * shape.length / rates.keystream + size / rates.hashing)
    signatures = 3 * rates.signature + shape.checked_agreements * rates.verification
    return masking + tags + signatures + (3 + shape.agreed) * rates.record


def _coordinator_time(shape: Shape, rates: _Rates) -> float:
    wide = shape.length * Ring(shape.bits).dtype.itemsize
    points = {number: bytes(32) for number in range(1, shape.share_threshold + 1)}
    rebuilding = _seconds(lambda: shamir.reconstruct(points), at_most=_REPEATS)
    # In a sparse graph each hospital's holders are others, so that nothing is computed once for all.
    basis = _seconds(lambda: shamir.basis(tuple(points)), at_most=_REPEATS) if shape.graph else 0
    answers = shape.survivors * ((2 + shape.agreed) * rates.verification + wide / rates.hashing)
    responders = shape.survivors if shape.graph else shape.threshold
    digests = responders * (shape.holders + 1) * rates.digest
    pairs = shape.dropped * min(shape.peers, shape.survivors)
    unmasking = (shape.survivors + pairs) * wide / rates.keystream + pairs * rates.agreement
    return answers + digests + shape.members * (rebuilding + basis) + unmasking


@dataclass(frozen=True)
class _Rates:
    """Seconds an operation, bytes a second."""

    agreement: float
    signature: float
    verification: float
    digest: float
    record: float
    keystream: float
    hashing: float

    @classmethod
    def measured(cls) -> _Rates:
        identity, message = Identity.generate(), bytes(100)
        signature, private = identity.sign(message), os.urandom(32)
        public = kdf.public_key(os.urandom(32))
        buffer = np.zeros(_MEASURED_BYTES // 4, np.uint32)
        keys = [SignedKey(os.urandom(32), 1) for _ in range(4)]
        return cls(
            agreement=_seconds(lambda: kdf.expand(kdf.agree(private, public, ""), message)),
            signature=_seconds(lambda: identity.sign(message)),
            verification=_seconds(lambda: is_valid_signature(identity.public_key, signature, message)),
            digest=_seconds(lambda: hashlib.sha256(label("share", message, 1, 2) + message).digest()),
            record=_latch_write(),
            keystream=len(keys) * _MEASURED_BYTES / _seconds(lambda: add_masks(buffer, keys), at_most=_REPEATS),
            hashing=_MEASURED_BYTES
            / _seconds(lambda: hashlib.sha256(memoryview(buffer).cast("B")).digest(), at_most=_REPEATS),
        )


def _latch_write() -> float:
    with tempfile.TemporaryDirectory() as folder, Latch(Path(folder) / "latch") as latch:
        return _seconds(lambda: latch.record_seen(bytes(32), {1: Sighting(1, 1)}), at_most=_LATCH_WRITES)


def _seconds(operation: Callable[[], object], at_most: int = 200) -> float:
    """The fastest of some runs: what it takes when nothing else is going on."""
    best = math.inf
    for _ in range(at_most):
        started = time.perf_counter()
        operation()
        best = min(best, time.perf_counter() - started)
    return best
