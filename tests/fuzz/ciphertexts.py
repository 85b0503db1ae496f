"""Harnesses for ciphertexts and contexts: what SEAL is given of bytes from outside.

The first byte of an input chooses the scheme.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import tenseal

from secagg.errors import RemoteProtocolError, TamperingError
from secagg.homomorphic.cipher import BlockSums, Cipher, check_fresh
from secagg.homomorphic.context import check_context, public_context
from secagg.homomorphic.parameters import ALLOWED, Encryption
from secagg.homomorphic.seal import Channel, header
from secagg.homomorphic.spec import CipherSpec
from tests.fuzz.harness import Harness, nested
from training.attacks.inflating import inflating_frame, saved_compressed

_PARAMETERS = ALLOWED["n4096-q60"]
_SPECS = [CipherSpec(_PARAMETERS, Encryption.BFV, 48), CipherSpec(_PARAMETERS, Encryption.CKKS, 48)]
_SEED = bytes(64)


@cache
def _cipher(spec: CipherSpec) -> Cipher:
    return Cipher(spec, _SEED)


@cache
def _sums(spec: CipherSpec) -> BlockSums:
    return BlockSums(spec, 1)


def _spec(data: bytes) -> CipherSpec:
    return _SPECS[(data[:1] or b"\0")[0] % len(_SPECS)]


def _fresh_of(spec: CipherSpec) -> bytes:
    out = bytearray(spec.fresh_block_size)
    _cipher(spec).encrypt(np.arange(100, dtype=np.uint64), memoryview(out))
    return bytes(out)


def _sum_of(spec: CipherSpec) -> bytes:
    sums, out = _sums(spec), bytearray(spec.sum_block_size)
    sums.add(0, memoryview(_fresh_of(spec)))
    sums.take(0, memoryview(out))
    return bytes(out)


def _add(data: bytes) -> None:
    """What a coordinator does with a hospital's block: it is added to another, and the sum is sent on."""
    spec, block = _spec(data), memoryview(data)[1:]
    check_fresh(spec, 1, block)
    sums, out = _sums(spec), bytearray(spec.sum_block_size)
    sums.add(0, block)
    sums.add(0, block)
    sums.take(0, memoryview(out))


def _decrypt(data: bytes) -> None:
    """What a hospital does with a block of a sum."""
    _cipher(_spec(data)).decrypt(memoryview(data)[1:])


def _acknowledge(data: bytes) -> None:
    """What a coordinator does with an acknowledged context."""
    check_context(data[1:], _spec(data), "h1")


def _fresh_seeds() -> list[bytes]:
    seeds = [bytes([index]) + _fresh_of(spec) for index, spec in enumerate(_SPECS)]
    size = _SPECS[0].fresh_block_size
    return [*seeds, b"\0" + bytes(size), b"\1" + bytes(size), b"\0" + b"\xff" * size, b"\0"]


def _sum_seeds() -> list[bytes]:
    seeds = [bytes([index]) + _sum_of(spec) for index, spec in enumerate(_SPECS)]
    size = _SPECS[0].sum_block_size
    return [*seeds, b"\0" + bytes(size), b"\1" + bytes(size), b"\0" + b"\xff" * size, b"\0"]


def _context_seeds() -> list[bytes]:
    """The true ones; keys alone and in contexts, a context that has everything made anew from its key, and what SEAL
    would inflate to a gigabyte."""
    channel = Channel(1 << 20)
    seeds = [bytes([index]) + public_context(spec) for index, spec in enumerate(_SPECS)]
    for index, spec in enumerate(_SPECS):
        content = channel.content(_cipher(spec)._secret)
        saved = channel.saved(_cipher(spec)._secret)
        seeds += [bytes([index]) + saved, bytes([index]) + saved[:200], bytes([index]) + header(len(content)) + content]
    context = tenseal.context(tenseal.SCHEME_TYPE.BFV, 4096, 1032193, coeff_mod_bit_sizes=[36, 36, 37])
    whole = context.serialize(save_secret_key=True, save_public_key=False)
    public = context.serialize(save_secret_key=False, save_public_key=False)
    generated = b"\x10\1\x18\1"
    seeds += [b"\0" + whole, b"\0" + public, b"\0" + public + b"\x1a" + bytes([len(generated)]) + generated]
    inflating = saved_compressed(inflating_frame(1 << 30))
    seeds += [b"\0" + inflating, b"\1" + inflating]
    return seeds + [b"\0" + deep for deep in nested(b"\x1a\x0a", b"\x5e\xa1\x10")]


HARNESSES = (
    Harness("fresh-ciphertexts", _fresh_seeds, _add, (RemoteProtocolError,)),
    Harness("summed-ciphertexts", _sum_seeds, _decrypt, (RemoteProtocolError,)),
    Harness("contexts", _context_seeds, _acknowledge, (RemoteProtocolError, TamperingError)),
)
