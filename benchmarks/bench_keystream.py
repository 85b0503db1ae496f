"""How much of the raw AES-256-CTR rate of one core is left when masks are expanded and added."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.sizes import size
from secagg.encoding import Ring
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.tags import tag, tag_size

ELEMENTS = size(10_000_000, 500_000)
VERIFIED_ELEMENTS = size(1_000_000, 100_000)
RAW_BLOCK = 256 * 1024
RAW_BYTES = size(512, 32) * 1024 * 1024
ROUNDS = size(3, 1)


PEERS = 49


def signed_keys(peers: int) -> list[SignedKey]:
    return [SignedKey(bytes([number]) * 32, 1 if number % 2 else -1) for number in range(peers)]


def raw_rate() -> float:
    """Bytes a second of AES-256-CTR alone, into a buffer that stays in the cache."""
    encryptor = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    zeros, buffer = bytes(RAW_BLOCK), bytearray(RAW_BLOCK)
    start = time.perf_counter()
    for _ in range(RAW_BYTES // RAW_BLOCK):
        encryptor.update_into(zeros, buffer)
    return RAW_BYTES / (time.perf_counter() - start)


@pytest.mark.parametrize("peers", [10, 49])
def bench_mask_expansion(benchmark, figure, peers):
    vector = np.zeros(ELEMENTS, "<u4")
    keys = signed_keys(peers)
    ratios = []

    def measure() -> None:
        before = raw_rate()
        start = time.perf_counter()
        add_masks(vector, keys)
        rate = vector.nbytes * peers / (time.perf_counter() - start)
        ratios.append(rate / ((before + raw_rate()) / 2))

    benchmark.pedantic(measure, rounds=ROUNDS)
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio"] = ratio
    figure(f"mask expansion, {peers} peers, {ELEMENTS / 1e6:g} M uint32, of raw AES-256-CTR", ratio, "", at_least=0.65)


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
        own = tag(vector, ring, bytes(32), PEERS + 1, [1])
        add_masks(vector[:0], keys, own, tag_size(ring))
        ratios.append((time.perf_counter() - masked) / (masked - start))

    benchmark.pedantic(measure, rounds=2 * ROUNDS + 1)
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio"] = ratio
    what = f"verified sum, {VERIFIED_ELEMENTS / 1e6:g} M numbers of {bits} bits, {PEERS} peers, of masking"
    figure(what, ratio, "", **({"at_most": 0.15} if bits <= 32 else {}))
