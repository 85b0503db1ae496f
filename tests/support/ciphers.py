"""Ciphertexts from outside: encrypted, added up, and taken apart with nothing but integers.

The secret is had from the cipher itself, which tests may do: a ciphertext whose second polynomial is a constant opens
to it. With it, noise is computed exactly, in Python's own integers, apart from all that SEAL does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache

import numpy as np

from secagg.homomorphic.cipher import BlockSums, Cipher
from secagg.homomorphic.parameters import ALLOWED, Encryption, ParameterSet
from secagg.homomorphic.spec import CipherSpec
from secagg.homomorphic.words import pack_words, unpack_words

SEED = bytes(range(64))
SMALL = ALLOWED["n4096-q60"]
LARGE = ALLOWED["n8192-q60"]
# Wide enough for N products of a residue and a digit, and for whatever is borrowed.
_SLOT = 12


def bfv(bits: int = 48, parameters: ParameterSet = SMALL) -> CipherSpec:
    return CipherSpec(parameters, Encryption.BFV, bits)


def ckks(bits: int = 48, parameters: ParameterSet = SMALL) -> CipherSpec:
    return CipherSpec(parameters, Encryption.CKKS, bits)


@lru_cache(maxsize=8)
def cipher_for(spec: CipherSpec, seed: bytes = SEED) -> Cipher:
    """A cipher that tests share."""
    return Cipher(spec, seed)


def encrypted(cipher: Cipher, values: np.ndarray) -> bytes:
    """A fresh block."""
    block = bytearray(cipher.spec.fresh_block_size)
    cipher.encrypt(values, memoryview(block))
    return bytes(block)


def summed(spec: CipherSpec, blocks: Iterable[bytes]) -> bytes:
    """The sum of fresh blocks."""
    sums = BlockSums(spec, 1)
    for block in blocks:
        sums.add(0, memoryview(block))
    return taken(sums, spec)


def taken(sums: BlockSums, spec: CipherSpec, block: int = 0) -> bytes:
    total = bytearray(spec.sum_block_size)
    sums.take(block, memoryview(total))
    return bytes(total)


def decrypted(cipher: Cipher, total: bytes) -> np.ndarray:
    return cipher.decrypt(memoryview(total))


def polynomials(spec: CipherSpec, total: bytes) -> tuple[list[int], list[int]]:
    """Both polynomials of a sum, as they are sent: CKKS's transformed."""
    half, view = len(total) // 2, memoryview(total)
    first, second = (unpack_words(view[start : start + half], spec.block).tolist() for start in (0, half))
    return first, second


def sum_of(spec: CipherSpec, first: Sequence[int], second: Sequence[int]) -> bytes:
    """The sum that has these polynomials."""
    total = bytearray(spec.sum_block_size)
    half, view = len(total) // 2, memoryview(total)
    pack_words(np.array(first, np.uint64), view[:half])
    pack_words(np.array(second, np.uint64), view[half:])
    return bytes(total)


def secret_of(seed: bytes, parameters: ParameterSet = SMALL) -> list[int]:
    """The secret polynomial: (0, q / 2^T) opens to it, modulo 2^T."""
    spec = bfv(20, parameters)
    scale = parameters.modulus >> spec.bits
    opened = decrypted(Cipher(spec, seed), sum_of(spec, [0] * spec.block, [scale] + [0] * (spec.block - 1)))
    return [int(digit) - (1 << spec.bits) * (int(digit) >> (spec.bits - 1)) for digit in opened]


def phase(spec: CipherSpec, total: bytes, secret: Sequence[int]) -> list[int]:
    """c_0 + c_1 s modulo X^N + 1 and q, one coefficient after the other."""
    first, second = polynomials(spec, total)
    if spec.encryption is Encryption.CKKS:
        first, second = (from_roots(spec.parameters, polynomial) for polynomial in (first, second))
    modulus = spec.parameters.modulus
    product = _times_ternary(second, secret)
    return [(constant + other) % modulus for constant, other in zip(first, product, strict=True)]


def noise_of(spec: CipherSpec, total: bytes, values: Sequence[int], secret: Sequence[int]) -> list[Fraction]:
    """By how much each coefficient of a sum is off its value times q / 2^T, or times the scale, exactly."""
    modulus, plain = spec.parameters.modulus, 1 << spec.bits
    found = []
    for coefficient, value in zip(phase(spec, total, secret), map(int, values), strict=True):
        if spec.encryption is Encryption.BFV:
            off = (Fraction(coefficient) - Fraction(modulus * value, plain)) % modulus
        else:
            off = Fraction(coefficient - ((value - plain * (2 * value >= plain)) << spec.scale_bits)) % modulus
        found.append(off - modulus * (2 * off > modulus))
    return found


def at_roots(parameters: ParameterSet, coefficients: Sequence[int]) -> list[int]:
    """A polynomial's number-theoretic transform in SEAL's order: value i is that at psi^(2 rev(i) + 1).

    psi is the smallest primitive 2N-th root of 1, and rev turns the log2 N bits of i around. Of X^2m - r^2 the halves
    are taken modulo X^m - r and X^m + r, down to m = 1 (Cooley and Tukey).
    """
    values, modulus = np.array(coefficients, object), parameters.modulus
    for roots in _roots(parameters):
        upper, lower = _halves(values, len(roots))
        lower = lower * roots[:, np.newaxis]
        values = np.stack((upper + lower, upper - lower), axis=1).reshape(-1) % modulus
    return [int(value) for value in values]


def from_roots(parameters: ParameterSet, transformed: Sequence[int]) -> list[int]:
    """The polynomial whose `at_roots` it is."""
    values, modulus = np.array(transformed, object), parameters.modulus
    for roots in reversed(_roots(parameters)):
        upper, lower = _halves(values, len(roots))
        inverse = np.array([pow(2 * int(root), -1, modulus) for root in roots], object)
        halved = (upper + lower) * pow(2, -1, modulus)
        values = np.stack((halved, (upper - lower) * inverse[:, np.newaxis]), axis=1).reshape(-1) % modulus
    return [int(value) for value in values]


def _halves(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    parts = values.reshape(count, 2, -1)
    return parts[:, 0], parts[:, 1]


@cache
def _roots(parameters: ParameterSet) -> list[np.ndarray]:
    """The r of each level: one, then two, up to N / 2 of them."""
    degree, modulus = parameters.degree, parameters.modulus
    candidates = (pow(base, (modulus - 1) // (2 * degree), modulus) for base in range(2, 100))
    some = next(root for root in candidates if pow(root, degree, modulus) == modulus - 1)
    smallest = min(pow(some, power, modulus) for power in range(1, 2 * degree, 2))
    bits, levels = degree.bit_length() - 1, range(degree.bit_length() - 1)
    turned = [int(f"{index:0{bits}b}"[::-1], 2) for index in range(degree)]
    powers = [pow(smallest, power, modulus) for power in turned]
    return [np.array(powers[1 << level : 2 << level], object) for level in levels]


def _times_ternary(polynomial: Sequence[int], digits: Sequence[int]) -> list[int]:
    """The product modulo X^N + 1, by Kronecker's substitution: as one product of large integers."""
    count = len(polynomial)
    packed = _packed(polynomial)
    products = [_unpacked(packed * _packed([digit == sign for digit in digits]), 2 * count) for sign in (1, -1)]
    more, less = products
    return [more[i] - more[i + count] - less[i] + less[i + count] for i in range(count)]


def _packed(coefficients: Sequence[int]) -> int:
    return int.from_bytes(b"".join(int(value).to_bytes(_SLOT, "little") for value in coefficients), "little")


def _unpacked(number: int, count: int) -> list[int]:
    data = number.to_bytes(count * _SLOT, "little")
    return [int.from_bytes(data[start : start + _SLOT], "little") for start in range(0, len(data), _SLOT)]
