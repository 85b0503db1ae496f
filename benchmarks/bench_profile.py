"""What bounds a hospital's masking and encryption of 1 M parameters, on one core: shares of all, and Python's own.

Masking is timed whole; then the same calls are made on almost no data, in as many pieces, so that what is left is what
Python and its calls cost whatever the size. Encryption is profiled: SEAL's functions are calls that the profiler sees,
arithmetic on arrays is not. Its functions have no loops but over blocks, so that of each so many microseconds a block
are Python, and what is more is numpy at work on an array.
"""

from __future__ import annotations

import cProfile
import hashlib
import pstats
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from benchmarks.bench_homomorphic import SCHEMES, TURNS, Ours, times
from benchmarks.measure import cpu_seconds
from benchmarks.sizes import size
from benchmarks.sweep.limits import expand_chunks
from benchmarks.sweep.targets import SHARE
from secagg.charter import Model
from secagg.encoding import packing
from secagg.homomorphic.parameters import Encryption
from secagg.masking import keystream, tags
from secagg.masking.messages import Begin
from secagg.processes import team
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.support.consortium import MODEL_DIGEST, Consortium

PARAMETERS = size(1_000_000, 50_000)
HOSPITALS = size(50, 5)
ROUNDS = size(40, 2, 20)
# By so much the pieces and the vector are smaller: the smallest pieces are 8 elements.
SMALLER = 1024
SHOWN = 0.03
PROFILED = size(5, 1)
# Hundreds of bytecodes, under a profiler.
PYTHON_A_BLOCK = 20e-6
PYTHON, NUMPY = "Python, at most", "numpy, system"


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "usable_cores", lambda: 1)


class Masking:
    """One hospital that masks, round after round, with nobody waiting for it."""

    def __init__(self, folder: Path, parameters: int) -> None:
        folder.mkdir()
        model = Model(digest=MODEL_DIGEST, parameters=parameters)
        # Some rounds are left over: a work may be done once before it is timed.
        self.consortium = Consortium.make(folder, HOSPITALS, model=model, epoch_rounds=2 * ROUNDS + 2)
        self.consortium.set_up()
        session = self.consortium.server.session
        self._sealer = Sealer(self.consortium.charter, COORDINATOR, None, session.epoch)
        self._vector = session.ring.zeros(session.length)
        self._round = 0
        self.message = b""

    def begin(self) -> None:
        """The coordinator's part, which is not timed."""
        self._round += 1
        begin = self._sealer.seal(Stage.BEGIN, Begin(self._round), round=self._round)
        self.consortium.clients[1].receive(begin)

    def mask(self) -> None:
        """All that a hospital does from its vector to its message."""
        self.message = self.consortium.clients[1].mask(self._vector, MODEL_DIGEST)

    def seconds(self) -> float:
        """CPU seconds of the hospital's part, once."""
        self.begin()
        return cpu_seconds(self.mask)


@contextmanager
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many calls on little data as on much."""
    with monkeypatch.context() as changed:
        for module, name in ((keystream, "CHUNK_BYTES"), (tags, "CHUNK_BYTES"), (packing, "_CHUNK")):
            changed.setattr(module, name, getattr(module, name) // SMALLER)
        yield


def bench_profile_of_masking(benchmark, figure, monkeypatch, tmp_path):
    large, small = Masking(tmp_path / "large", PARAMETERS), Masking(tmp_path / "small", PARAMETERS // SMALLER)
    session = large.consortium.server.session
    expanded = PARAMETERS * (HOSPITALS * session.ring.dtype.itemsize + session.tag_size)
    turns: list[tuple[float, ...]] = []

    def turn() -> None:
        all_, keys = large.seconds(), small.seconds()
        with in_pieces(monkeypatch):
            called = small.seconds()
        cipher = cpu_seconds(lambda: expand_chunks(expanded))
        hashed = cpu_seconds(lambda: hashlib.sha256(large.message))
        turns.append((all_, keys, called, cipher, hashed))

    benchmark.pedantic(turn, rounds=ROUNDS)
    python = max(0.0, median((called - keys) / all_ for all_, keys, called, *_ in turns))
    all_, keys, called, cipher, hashed = map(min, zip(*turns, strict=True))
    what = f"masking {PARAMETERS / 1e6:g} M, {HOSPITALS - 1} peers"
    figure(f"{what}: all", all_ * 1e3, "ms")
    figure(f"{what}: cipher", cipher / all_, SHARE)
    figure(f"{what}: numpy on memory, by what is left", (all_ - cipher - hashed - called) / all_, SHARE)
    figure(f"{what}: hashing", hashed / all_, SHARE)
    figure(f"{what}: keys, signature, disk", keys / all_, SHARE)
    figure(f"{what}: Python and its calls", python, SHARE, at_most=0.15)


@pytest.mark.parametrize("encryption", [Encryption.BFV, Encryption.CKKS])
@pytest.mark.parametrize("work", TURNS)
def bench_profile_of_encryption(benchmark, figure, encryption, work):
    """A profile makes Python look slower than it is."""
    ours = Ours(encryption)
    ours.begin()
    profile = cProfile.Profile(time.process_time)
    benchmark.pedantic(lambda: profile.runcall(times(getattr(ours, work), PROFILED)), rounds=1)
    spent: Counter[str] = Counter()
    blocks = PROFILED * ours.form.blocks
    for (file, _, name), (_, calls, own, _, _) in pstats.Stats(profile).stats.items():
        part = part_of(file, name)
        python = min(own, PYTHON_A_BLOCK * max(blocks, calls)) if part == PYTHON else 0.0
        spent[PYTHON] += python
        spent[NUMPY if part == PYTHON else part] += own - python
    for part, seconds in spent.most_common():
        target = {"at_most": 0.15} if (part, work) == (PYTHON, "encrypt") else {}
        if target or seconds >= SHOWN * spent.total():
            figure(f"{SCHEMES[encryption]}: {work}: {part}", seconds / spent.total(), SHARE, **target)


def part_of(file: str, name: str) -> str:
    seal = name.partition("_sealapi_cpp.")[2]
    if seal:
        return f"SEAL's {seal.rstrip('>')}"
    # Builtins have no file.
    return NUMPY if file == "~" else PYTHON
