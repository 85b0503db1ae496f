"""What is sealed in a snapshot: a state, or the one sum that the other lacks; as bytes, and checked when it is read.

Knows the encoding, and what a state can be under a charter. Whether a state is the true one is for those to say who
have it too: `training.endorsement`. Numbers are little-endian and lists are byte strings of a size that is known, so
that reading takes no more memory than the bytes themselves.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from secagg.charter import Charter, VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.masking import Session
from secagg.masking.session import Survivors
from secagg.wire.envelope import decode
from training.hospital_state import AppliedSum, HospitalState, has_bits
from training.model_state import ModelLayout
from training.position import Position, can_replace
from training.progress import counts_are_due
from training.server_optimizer import OptimizerState
from training.standardisation import Moments

_Number = TypeVar("_Number", bound=np.generic)


class SharedState(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """All that is the same at hospitals that have applied the same sums; what `HospitalState.digest` covers.

    Attributes:
        model: float32 (d,).
        first, second: the optimizer's moments, float64 (d,); empty if every bit is zero.
        moments: the features' means, then their variances, float64 (2, features); empty before they were summed.
        rounds: of each applied sum, uint32 (s,).
        survivors: of each, a bit for each member: of member i, bit (i - 1) mod 8 of byte (i - 1) div 8.
        cells: of each, the validation counts, int64 (s, cells); zeros where none were due.
    """

    model: memoryview
    first: memoryview
    second: memoryview
    moments: memoryview
    rounds: memoryview
    survivors: memoryview
    cells: memoryview


class SnapshotContent(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One of both.

    Attributes:
        state: for one that lacks more than one sum, or has other sums.
        missed_sum: a whole MISSED_SUM message; empty beside a state.
    """

    state: SharedState | None
    missed_sum: memoryview


def content_of_sum(message: bytes) -> bytes:
    """The content that hands over one sum, as a MISSED_SUM message."""
    return msgspec.msgpack.encode(SnapshotContent(None, memoryview(message)))


def content_of_state(state: HospitalState, charter: Charter) -> bytes:
    """The content that hands over a state."""
    applied = state.progress.applied
    named = np.zeros((len(applied), len(charter.members)), np.bool_)
    for row, one in zip(named, applied, strict=True):
        row[np.array(one.survivors) - 1] = True
    none_due = (0,) * charter.metrics.cells
    shared = SharedState(
        _little_endian(state.model, "<f4"),
        _unless_zero(state.optimizer.first),
        _unless_zero(state.optimizer.second),
        _of_features(state),
        _little_endian(np.array([one.round for one in applied], np.int64), "<u4"),
        memoryview(np.packbits(named, axis=1, bitorder="little").tobytes()),
        _little_endian(np.array([one.cells or none_due for one in applied], np.int64), "<i8"),
    )
    return msgspec.msgpack.encode(SnapshotContent(shared, memoryview(b"")))


def read_content(data: bytes) -> SnapshotContent:
    """What `content_of_state` or `content_of_sum` made.

    Raises:
        RemoteProtocolError: ``malformed``.
    """
    content = decode(data, SnapshotContent)
    if (content.state is None) == (not content.missed_sum):
        raise RemoteProtocolError("malformed", "A snapshot holds one of two: a state, or a sum.")
    return content


def read_state(shared: SharedState, charter: VerifiedCharter, own: HospitalState, layout: ModelLayout) -> HospitalState:
    """The state that a hospital in the state ``own`` would have: what is its alone, its own; the rest as shared.

    Raises:
        RemoteProtocolError: ``wrong-length``, ``not-finite``, ``bad-history``, ``not-ahead``; whatever is wrong with a
            survivor set.
    """
    size = charter.charter.model.parameters
    applied = _read_applied(shared, charter)
    moments = _read_moments(shared.moments, charter.charter, len(applied))
    model = _vector(shared.model, "<f4", np.float32, size)
    first, second = (
        _vector(part, "<f8", np.float64, size) if part else np.zeros(size) for part in (shared.first, shared.second)
    )
    of_features = (moments.mean, moments.variance) if moments else ()
    if not all(np.isfinite(one).all() for one in (model, first, second, *of_features)):
        raise RemoteProtocolError("not-finite", "A snapshot holds NaN or infinity.")
    progress = msgspec.structs.replace(own.progress, applied=applied)
    state = HospitalState(model, OptimizerState(len(applied), first, second), progress, moments)
    # It need not begin with this hospital's own sums: one that reached few may have been summed anew without them.
    if own.progress.concluded or not can_replace(Position.of(state, layout), Position.of(own, layout)):
        raise RemoteProtocolError("not-ahead", "A snapshot is of no state that this hospital could go on from.")
    return state


def _read_moments(data: memoryview, charter: Charter, sums: int) -> Moments | None:
    features = charter.statistics.features
    # Training begins once the statistics are there.
    if not data and not (features and sums):
        return None
    mean, variance = _vector(data, "<f8", np.float64, 2 * features).reshape(2, -1)
    return Moments(mean, variance)


def _read_applied(shared: SharedState, charter: VerifiedCharter) -> tuple[AppliedSum, ...]:
    members, cells = len(charter.charter.members), charter.charter.metrics.cells
    sums = len(shared.rounds) // 4
    if sums > charter.charter.training.rounds:
        raise RemoteProtocolError("bad-history", f"A snapshot is of {sums} sums, more than the charter asks for.")
    rounds = _vector(shared.rounds, "<u4", np.int64, sums).tolist()
    if any(later <= earlier for earlier, later in pairwise([0, *rounds])):
        raise RemoteProtocolError("bad-history", "The rounds of a snapshot's sums are not in order.")
    width = math.ceil(members / 8)
    bits = _vector(shared.survivors, "u1", np.uint8, sums * width).reshape(sums, width)
    counts = _vector(shared.cells, "<i8", np.int64, sums * cells).reshape(sums, cells)
    session = Session.unopened(charter)
    everybody = frozenset(session.members)
    return tuple(
        AppliedSum(
            number,
            Survivors.check(_numbers(row), session, everybody).numbers,
            tuple(told.tolist()) if counts_are_due(charter.charter, step) else (),
        )
        for step, (number, row, told) in enumerate(zip(rounds, bits, counts, strict=True), start=1)
    )


def _numbers(bits: npt.NDArray[np.uint8]) -> list[int]:
    """Those whose bit is set, ascending."""
    numbers: list[int] = (np.flatnonzero(np.unpackbits(bits, bitorder="little")) + 1).tolist()
    return numbers


def _vector(data: memoryview, stored: str, kind: type[_Number], size: int) -> npt.NDArray[_Number]:
    if len(data) != size * np.dtype(stored).itemsize:
        raise RemoteProtocolError("wrong-length", f"A snapshot has {len(data)} bytes where {size} numbers are due.")
    return np.frombuffer(data, stored).astype(kind)


def _of_features(state: HospitalState) -> memoryview:
    if state.moments is None:
        return memoryview(b"")
    return _little_endian(np.stack([state.moments.mean, state.moments.variance]), "<f8")


def _little_endian(array: npt.NDArray[np.generic], stored: str) -> memoryview:
    return memoryview(array.astype(stored).tobytes())


def _unless_zero(array: npt.NDArray[np.float64]) -> memoryview:
    """Its bytes; none if every bit is zero."""
    return _little_endian(array, "<f8") if has_bits(array) else memoryview(b"")
