"""SEAL's objects come and go through memory: what we write is what SEAL writes, and nothing is left on a disk."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from tenseal import sealapi

from secagg.errors import InputError
from secagg.homomorphic.parameters import ALLOWED, Encryption
from secagg.homomorphic.seal import HEADER_START, Channel, encryption_parameters, header, make_context
from tests.support.ciphers import SEED, SMALL, secret_of
from tests.support.few_files import room_for

LARGEST = 2 * 8 * 4096
both = pytest.mark.parametrize("encryption", Encryption)


def secret(seed: bytes | None, encryption: Encryption = Encryption.BFV) -> bytes:
    channel = Channel(LARGEST)
    context = make_context(SMALL, encryption, 20, seed)
    return channel.content(sealapi.KeyGenerator(context).secret_key())


@both
def test_the_same_seed_gives_the_same_secret_and_another_another(encryption):
    first = secret(SEED, encryption)
    assert secret(SEED, encryption) == first
    for position in (0, 7, 8, 31, 32, 63):
        other = bytearray(SEED)
        other[position] ^= 1
        assert secret(bytes(other), encryption) != first


def test_without_a_seed_every_secret_is_another():
    assert len({secret(None) for _ in range(3)}) == 3


def test_both_encryptions_have_the_same_secret_of_one_seed_but_for_the_name_of_their_parameters():
    """So the seed of an epoch must be bound to its charter, and with it to the scheme: it is."""
    bfv, ckks = secret(SEED, Encryption.BFV), secret(SEED, Encryption.CKKS)
    assert bfv != ckks
    assert bfv[32:] == ckks[32:]


def test_a_secret_is_ternary_and_about_evenly_so():
    digits = secret_of(SEED)
    assert set(digits) == {-1, 0, 1}
    assert all(1200 < digits.count(digit) < 1530 for digit in (-1, 0, 1))


# --- The channel ---------------------------------------------------------------------------------------------


def test_an_object_comes_back_as_it_was():
    channel = Channel(LARGEST)
    context = make_context(SMALL, Encryption.BFV, 20)
    content = secret(SEED)
    key = sealapi.SecretKey()
    channel.load(key, context, content[:100], memoryview(content)[100:])
    assert channel.content(key) == content
    raw = channel.saved(key)
    assert raw.startswith(HEADER_START)
    channel.load_raw(key, context, raw)
    assert channel.content(key) == content


def test_a_shorter_object_after_a_longer_one_leaves_nothing_of_that():
    channel = Channel(LARGEST)
    long = channel.saved(sealapi.Plaintext(4000))
    short = channel.saved(sealapi.Plaintext(1))
    assert len(short) < len(long)
    assert channel.saved(sealapi.Plaintext(1)) == short


def test_the_header_is_that_of_seal_but_for_the_compression():
    saved = Channel(LARGEST).saved(sealapi.Plaintext(1))
    magic, size, major, minor, _mode, _reserved, whole = struct.unpack("<HBBBBHQ", saved[:16])
    assert (magic, size, whole) == (0xA15E, 16, len(saved))
    assert header(5) == struct.pack("<HBBBBHQ", 0xA15E, 16, major, minor, 0, 0, 16 + 5)


def test_what_is_cut_short_or_from_other_parameters_is_refused_by_seal():
    channel = Channel(LARGEST)
    content = secret(SEED)
    context = make_context(SMALL, Encryption.BFV, 20)
    for wrong in (content[:-1], b"", bytes(32) + content[32:]):
        with pytest.raises((ValueError, RuntimeError)):
            channel.load(sealapi.SecretKey(), context, wrong)
    other = make_context(ALLOWED["n8192-q60"], Encryption.BFV, 20)
    with pytest.raises((ValueError, RuntimeError)):
        channel.load(sealapi.SecretKey(), other, content)


def descriptors() -> dict[str, str]:
    """What this process has open, by number."""
    return {path.name: str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_the_memory_has_no_name_and_is_given_back():
    before = {name for name, target in descriptors().items() if "memfd" in target}
    channel = Channel(LARGEST)
    ours = {name: target for name, target in descriptors().items() if "memfd" in target and name not in before}
    assert ours
    for name, target in ours.items():
        assert target.startswith("/memfd:")
        assert target.endswith(" (deleted)")
        assert not Path(target).exists()
        # Nor does a child process get it.
        assert not os.get_inheritable(int(name))
    channel.close()
    channel.close()
    assert {name for name, target in descriptors().items() if "memfd" in target} == before


def test_where_there_is_no_such_memory_the_error_says_what_to_do(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(InputError) as caught:
        Channel(LARGEST)
    assert caught.value.reason == "no-anonymous-memory"
    assert "mask" in caught.value.remedy


@pytest.mark.parametrize("files", [0, 1])
def test_where_too_many_files_are_open_that_is_said_and_none_stays_open(files):
    before = set(descriptors().values())
    with room_for(files):
        assert reason_of(lambda: Channel(LARGEST)) == "too-many-files"
    assert set(descriptors().values()) == before


def test_an_object_that_cannot_be_opened_for_want_of_files_is_not_called_malformed():
    channel, context = Channel(LARGEST), make_context(SMALL, Encryption.BFV, 20)
    saved = channel.saved(sealapi.Plaintext(1))
    with room_for(0):
        assert reason_of(lambda: channel.saved(sealapi.Plaintext(1))) == "too-many-files"
        assert reason_of(lambda: channel.load_raw(sealapi.Plaintext(), context, saved)) == "too-many-files"
    channel.load_raw(sealapi.Plaintext(), context, saved)


def reason_of(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return caught.value.reason


def test_the_parameters_are_those_that_were_asked_for():
    for parameters in ALLOWED.values():
        made = encryption_parameters(parameters, Encryption.BFV, 48)
        assert made.poly_modulus_degree() == parameters.degree
        assert [prime.value() for prime in made.coeff_modulus()] == [parameters.modulus]
        assert made.plain_modulus().value() == 1 << 48
