"""The generator is AES-128 in counter mode, and every bit of its key counts."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from dp.randomness import KEY_SIZE, secure_generator

KEY = bytes(range(KEY_SIZE))
# Past the point where the counter's second byte, and its third, come into use.
BLOCKS = 70_000


def stream(key: bytes, blocks: int) -> bytes:
    return secure_generator(key).bit_generator.random_raw(2 * blocks).astype("<u8").tobytes()


def encrypted_counters(key: bytes, blocks: int) -> bytes:
    counters = b"".join(number.to_bytes(16, "little") for number in range(blocks))
    # ECB over the counters is how counter mode is defined.
    return Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(counters)


@pytest.mark.parametrize("key", [KEY, bytes(16), b"\xff" * 16, bytes(reversed(KEY))])
def test_the_bits_are_the_encryptions_of_a_little_endian_counter(key):
    assert stream(key, BLOCKS) == encrypted_counters(key, BLOCKS)


def test_the_known_answer_of_fips_197_is_the_first_block_of_a_zero_plaintext():
    # NIST AESAVS, KeySbox, key 10a58869d74be5a374cf867cfb473859, plaintext zero.
    key = bytes.fromhex("10a58869d74be5a374cf867cfb473859")
    assert stream(key, 1).hex() == "6d251e6944b051e04eaa6fb4dbf78465"


def test_only_the_first_block_is_that_of_a_library_with_a_big_endian_counter():
    big_endian = Cipher(algorithms.AES128(KEY), modes.CTR(bytes(16))).encryptor().update(bytes(32))
    assert stream(KEY, 2)[:16] == big_endian[:16]
    assert stream(KEY, 2)[16:] != big_endian[16:]


@pytest.mark.parametrize("position", range(8 * KEY_SIZE))
def test_every_bit_of_the_key_changes_the_stream(position):
    flipped = bytearray(KEY)
    flipped[position // 8] ^= 1 << position % 8
    ours, other = (np.frombuffer(stream(key, 64), np.uint8) for key in (KEY, bytes(flipped)))
    differing = np.unpackbits(ours ^ other).mean()
    # 8,192 bits of which half should differ: five standard deviations are 0.028.
    assert abs(differing - 0.5) < 0.03


def test_the_same_key_gives_the_same_draws():
    assert np.array_equal(secure_generator(KEY).normal(size=50), secure_generator(KEY).normal(size=50))


def test_a_key_that_is_not_given_is_all_from_the_operating_system(monkeypatch):
    monkeypatch.setattr("secrets.token_bytes", lambda size: KEY if size == KEY_SIZE else bytes(size))
    assert secure_generator().bit_generator.random_raw(10).tolist() == np.frombuffer(stream(KEY, 5), "<u8").tolist()


def test_two_generators_without_a_key_have_nothing_in_common():
    first, second = (secure_generator().bit_generator.random_raw(1000) for _ in range(2))
    assert not set(first) & set(second)


def test_the_global_seed_of_numpy_has_no_say():
    draws = []
    for _ in range(2):
        np.random.seed(7)
        draws.append(secure_generator().random(4))
    assert not np.array_equal(*draws)
