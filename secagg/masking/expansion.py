"""Where masks are computed: here, or here and in worker processes beside it, with the same result.

Knows when more processes pay, and into which pieces a vector is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np

from secagg.encoding.ring import RingVector
from secagg.masking.keystream import MaskStreams, aligned_zeros, encode_streams, in_one_process
from secagg.masking.prg import CHUNK_BYTES
from secagg.processes import team
from secagg.processes.job import Piece, Work
from secagg.processes.team import Runner
from secagg.processes.worker import SLOT_BYTES

# Bytes of keystream (vector times keys) from which on workers are asked: 1 M parameters among 50 hospitals are 200 MB.
# Two cores to one, best of 60, by `bench_break_even`: 0.9 at 8 MiB, 1.1 at 16, 1.4 at 32, 1.7 at 64, 1.8 at 128.
PARALLEL_FROM_BYTES: Final = 64 * 1024 * 1024
# Pieces get smaller towards the end, so that all finish at once: guided self-scheduling (Polychronopoulos and Kuck
# 1987), down to a chunk of the keystream.
_SHARES: Final = 3
# How long a piece is waited for when nothing else is left to do, before it is computed here too. A worker may have lost
# its core to somebody else.
_LEAST_WAIT_SECONDS: Final = 0.001
_SLOW_BYTES_A_SECOND: Final = 2e9


def over_processes(streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
    """An `Expander` that shares large work with a worker process for each further core, if they can be had."""
    if length * streams.dtype.itemsize * len(streams.keys) < PARALLEL_FROM_BYTES:
        yield from in_one_process(streams, length)
        return
    yield from expand_with(team.over_team, streams, length)


def expand_with(run: Runner[RingVector], streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
    """The pieces of a vector's masks, computed by whom ``run`` employs."""
    pieces = deque(_pieces(length, streams.dtype.itemsize, team.usable_cores()))
    for (start, _), masks in run(MaskJob(streams), pieces):
        yield start, masks


class MaskJob:
    """The sum of masks; a piece is (first element, elements)."""

    work = Work.EXPAND_MASKS

    def __init__(self, streams: MaskStreams) -> None:
        self._streams = streams
        self._scratch = aligned_zeros(SLOT_BYTES // streams.dtype.itemsize, streams.dtype)
        self.patience = _LEAST_WAIT_SECONDS + CHUNK_BYTES * len(streams.keys) / _SLOW_BYTES_A_SECOND

    def brief(self) -> bytes:
        """The keys."""
        return encode_streams(self._streams)

    def hand_over(self, piece: Piece, slot: memoryview) -> None:
        """Nothing: masks follow from keys."""

    def result(self, piece: Piece, slot: memoryview) -> RingVector:
        """The masks that a worker has written."""
        return np.frombuffer(slot, self._streams.dtype, piece[1])

    def compute(self, piece: Piece) -> RingVector:
        """The masks, here."""
        start, count = piece
        self._streams.sum_into(start, self._scratch[:count])
        return self._scratch[:count]


def _pieces(length: int, itemsize: int, processes: int) -> Iterator[Piece]:
    start, largest, smallest = 0, SLOT_BYTES // itemsize, CHUNK_BYTES // itemsize
    while start < length:
        share = (length - start) // (_SHARES * processes) // smallest * smallest
        count = min(max(share, smallest), largest, length - start)
        yield start, count
        start += count
