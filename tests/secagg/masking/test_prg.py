"""A keystream is AES of counters that never repeat, whichever way it is computed."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.masking import prg
from secagg.masking.prg import CHUNK_BYTES, OVERHANG, ByCounterMode, ByGcm, Keystream, fastest_cipher
from tests.support import keystreams

KEY = bytes(range(32))
LAST_OF_A_VECTOR = 2**64


@pytest.fixture(params=[ByCounterMode, ByGcm], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(prg, "fastest_cipher", lambda: request.param)


def chunk(key: bytes, number: int, size: int) -> bytes:
    buffer = memoryview(bytearray(size + OVERHANG))
    Keystream(key).write_chunk(number, buffer)
    return bytes(buffer[:size])


def test_the_published_ciphertext_of_zeros_is_reproduced():
    """McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, test case 14."""
    assert chunk(bytes(32), 0, 16).hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@pytest.mark.parametrize("number", [0, 1, 255, 256, LAST_OF_A_VECTOR])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, CHUNK_BYTES - 1, CHUNK_BYTES])
def test_a_chunk_is_aes_of_its_number_and_of_the_number_of_each_block(number, size):
    assert chunk(KEY, number, size) == keystreams.chunk(KEY, number, size)


def test_plain_counter_mode_gives_the_same_bytes():
    counter = (7).to_bytes(12, "big") + (2).to_bytes(4, "big")
    encryptor = Cipher(algorithms.AES(KEY), modes.CTR(counter)).encryptor()
    assert encryptor.update(bytes(CHUNK_BYTES)) == chunk(KEY, 7, CHUNK_BYTES)


def test_chunks_of_one_key_come_in_any_order():
    stream = Keystream(KEY)
    for number, size in [(3, 1000), (0, 17), (3, CHUNK_BYTES), (1, 16)]:
        buffer = memoryview(bytearray(size + OVERHANG))
        stream.write_chunk(number, buffer)
        assert bytes(buffer[:size]) == keystreams.chunk(KEY, number, size)


def test_no_block_of_the_first_chunks_and_of_the_words_is_another():
    streams = [chunk(KEY, number, CHUNK_BYTES) for number in range(4)]
    streams.append(b"".join(word.to_bytes(16, "little") for word in Keystream(KEY).words(16, 1000)))
    blocks = [stream[start : start + 16] for stream in streams for start in range(0, len(stream), 16)]
    assert len(set(blocks)) == len(blocks) == 4 * CHUNK_BYTES // 16 + 1000


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_words_are_little_endian_numbers_of_the_last_chunk(size, count):
    assert Keystream(KEY).words(size, count) == keystreams.words(KEY, size, count)


@pytest.mark.parametrize("size", [-1, CHUNK_BYTES + 1])
def test_nothing_passes_for_keystream_that_no_chunk_has(size):
    with pytest.raises(ValueError, match="a chunk has"):
        chunk(KEY, 0, size)


def test_words_end_with_their_chunk():
    assert len(Keystream(KEY).words(16, CHUNK_BYTES // 16)) == CHUNK_BYTES // 16
    with pytest.raises(ValueError, match="a chunk has"):
        Keystream(KEY).words(16, CHUNK_BYTES // 16 + 1)


def test_a_key_is_not_in_the_repr():
    assert KEY.hex() not in repr(Keystream(KEY))


@pytest.mark.parametrize("slow", [ByCounterMode, ByGcm])
def test_the_way_that_is_slower_on_this_processor_is_not_taken(slow, monkeypatch):
    write = slow.write_chunk

    def write_slowly(self, number, into):
        time.sleep(0.005)
        write(self, number, into)

    monkeypatch.setattr(slow, "write_chunk", write_slowly)
    assert fastest_cipher.__wrapped__() is not slow
