"""How much of the raw AES-256-CTR rate of one core is left when masks are added, and what more cores bring.

Masking one update is what a hospital does with its 49 peers' keys and its own: expand, add, pack for the wire.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.measure import best_by_turns, cpu_seconds
from benchmarks.sizes import size
from benchmarks.sweep.limits import expand_chunks
from secagg.encoding import Ring, packed_size
from secagg.encoding.ring import RingVector
from secagg.masking.expansion import PARALLEL_FROM_BYTES, over_processes
from secagg.masking.keystream import Expander, MaskStreams, SignedKey, add_masks, in_one_process, pack_masked
from secagg.masking.tags import tag, tag_size
from secagg.processes.cores import usable_cores

UPDATES = size([1_000_000, 25_000_000], [400_000])
VERIFIED_ELEMENTS = size(1_000_000, 100_000)
RAW_BLOCK = 256 * 1024
ROUNDS = size(3, 1)
TURNS = {1_000_000: size(100, 1, 30), 25_000_000: size(6, 1, 2), 400_000: 2}
PEERS = 49
RING = Ring(24)
ROOT = Path(__file__).parents[1]


def signed_keys(peers: int) -> list[SignedKey]:
    return [SignedKey(bytes([number]) * 32, 1 if number % 2 else -1) for number in range(peers)]


def expand_raw(size: int) -> None:
    """AES-256-CTR alone, ``size`` bytes, into a buffer that stays in the cache."""
    encryptor = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    zeros, buffer = bytes(RAW_BLOCK), bytearray(RAW_BLOCK)
    for _ in range(size // RAW_BLOCK):
        encryptor.update_into(zeros, buffer)


class OtherProcess:
    """Does `expand_raw` in a process of its own, at the same time as this one."""

    def __init__(self) -> None:
        body = "import sys\nfrom benchmarks.bench_keystream import expand_raw\nprint(flush=True)\n"
        body += "for line in sys.stdin:\n    expand_raw(int(line))\n    print(flush=True)"
        self._process = subprocess.Popen(
            [sys.executable, "-c", body], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdout.readline()

    def beside_this_one(self, size: int) -> None:
        self._process.stdin.write(f"{size}\n")
        self._process.stdin.flush()
        expand_raw(size)
        self._process.stdout.readline()

    def end(self) -> None:
        self._process.communicate()


@dataclass
class Pieces:
    """An expander that stops after each piece to do the cipher's part of it alone: both meet the same moments.

    Attributes:
        cipher, keystream: CPU seconds of `expand_raw` and of `expand_chunks`, in all.
    """

    cipher: float = 0.0
    keystream: float = 0.0

    def __call__(self, streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
        for start, piece in in_one_process(streams, length):
            yield start, piece
            work = piece.nbytes * len(streams.keys)
            self.cipher += cpu_seconds(partial(expand_raw, work))
            self.keystream += cpu_seconds(partial(expand_chunks, work))


@dataclass(frozen=True)
class Turn:
    """CPU seconds of the same bytes: as a cipher's output, as a keystream, and as the masks of one update."""

    cipher: float
    keystream: float
    masking: float

    @classmethod
    def take(cls, mask: Callable[[Expander], object]) -> Turn:
        pieces = Pieces()
        whole = cpu_seconds(lambda: mask(pieces))
        return cls(pieces.cipher, pieces.keystream, whole - pieces.cipher - pieces.keystream)


@pytest.mark.parametrize("elements", UPDATES)
def bench_masking_one_update(benchmark, figure, elements):
    vector, keys = RING.zeros(elements), signed_keys(PEERS + 1)
    packed = memoryview(bytearray(packed_size(elements, RING.bits)))
    other = OtherProcess()

    def mask(expand):
        pack_masked(vector, RING, keys, [0], tag_size(RING), packed, expand)

    # Its worker takes a moment to start, and is not waited for.
    mask(over_processes)
    time.sleep(1)
    # As many bytes as the masks have, in whole blocks.
    work = elements * RING.dtype.itemsize * len(keys) // RAW_BLOCK * RAW_BLOCK
    turns: list[Turn] = []
    works = (
        lambda: turns.append(Turn.take(mask)),
        lambda: expand_raw(work),
        lambda: other.beside_this_one(work),
        lambda: mask(in_one_process),
        lambda: mask(over_processes),
    )
    best: list[float] = []
    benchmark.pedantic(lambda: best.extend(best_by_turns(TURNS[elements], *works)), rounds=1)
    other.end()
    _, raw, twice_raw, one, all_cores = best
    cores = usable_cores()
    name = f"masking {elements / 1e6:g} M, {PEERS} peers"
    benchmark.extra_info.update(raw_rate=work / raw, rate=work / one, rate_on_all_cores=work / all_cores, cores=cores)
    figure(f"raw AES-256-CTR, one core, beside {name}", work / raw / 1e9, "GB/s")
    figure(f"{name}, one core", work / one / 1e9, "GB/s")
    share = statistics.median(turn.cipher / turn.masking for turn in turns)
    figure(f"{name}, one core, of raw AES-256-CTR", share, "", at_least=0.75)
    figure(f"{name}, {cores} cores, of one", one / all_cores, "", **({"at_least": 1.7} if cores == 2 else {}))
    alone = statistics.median(turn.cipher / turn.keystream for turn in turns)
    figure(f"  for comparison: the keystream alone, beside {name}, of raw AES-256-CTR", alone, "")
    figure(f"  for comparison: raw AES-256-CTR twice at once, of once, beside {name}", 2 * raw / twice_raw, "")


@pytest.mark.parametrize("megabytes", size([8, 16, 32, 64, 128], [8]))
def bench_break_even(benchmark, figure, monkeypatch, megabytes):
    """From which work on the workers pay: `secagg.masking.expansion.PARALLEL_FROM_BYTES` rests on it."""
    monkeypatch.setattr("secagg.masking.expansion.PARALLEL_FROM_BYTES", 0)
    keys = signed_keys(PEERS + 1)
    vector = RING.zeros(megabytes * 1024 * 1024 // RING.dtype.itemsize // len(keys))
    packed = memoryview(bytearray(packed_size(len(vector), RING.bits)))

    def mask(expand):
        return lambda: pack_masked(vector, RING, keys, [0], tag_size(RING), packed, expand)

    mask(over_processes)()
    time.sleep(1)
    best = []
    works = mask(in_one_process), mask(over_processes)
    benchmark.pedantic(lambda: best.extend(best_by_turns(size(60, 2), *works)), rounds=1)
    what = (
        f"{megabytes} MiB of keystream, {usable_cores()} cores, of one; asked from {PARALLEL_FROM_BYTES >> 20} MiB on"
    )
    figure(what, best[0] / best[1], "")


@pytest.mark.parametrize("bits", [24, 48])
def bench_verified_sum(benchmark, figure, bits):
    """What the tag of a vector adds to masking it: for every round, at the hospital."""
    ring, keys = Ring(bits), signed_keys(PEERS)
    vector = ring.zeros(VERIFIED_ELEMENTS)
    ratios = []

    def measure() -> None:
        start = time.perf_counter()
        add_masks(vector, keys)
        masked = time.perf_counter()
        own = tag(vector, ring, bytes(32), [1])
        add_masks(vector[:0], keys, [own], tag_size(ring))
        ratios.append((time.perf_counter() - masked) / (masked - start))

    benchmark.pedantic(measure, rounds=2 * ROUNDS + 1)
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio"] = ratio
    what = f"verified sum, {VERIFIED_ELEMENTS / 1e6:g} M numbers of {bits} bits, {PEERS} peers, of masking"
    figure(what, ratio, "", **({"at_most": 0.15} if bits <= 32 else {}))
