"""A context is either what everybody encrypts under, or refused; with a secret key in it, so loudly that all stops."""

from __future__ import annotations

import pickle

import pytest
import tenseal
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from secagg.errors import RemoteProtocolError, TamperingError
from secagg.homomorphic import context as context_module
from secagg.homomorphic.context import check_context, public_context
from secagg.homomorphic.parameters import Encryption
from secagg.homomorphic.seal import Channel, encryption_parameters, make_context
from secagg.homomorphic.spec import CipherSpec
from secagg.masking.messages import CONTEXT_LIMIT
from tests.support.ciphers import LARGE, SEED, SMALL, bfv, cipher_for, ckks
from tests.support.seal_releases import another_seal, serialized_parameters
from training.attacks.inflating import inflating_frame, saved_compressed

SPEC = bfv()
SPECS = [bfv(48), bfv(50), ckks(48), ckks(25), bfv(48, LARGE), ckks(48, LARGE)]


def refused(data: bytes, spec: CipherSpec = SPEC) -> str:
    with pytest.raises((RemoteProtocolError, TamperingError)) as caught:
        check_context(data, spec, "h1")
    assert caught.value.culprit == "h1"
    assert caught.value.remedy
    return caught.value.reason


def tenseal_bytes(*arguments, **kept: bool) -> bytes:
    return tenseal.context(*arguments[:2], **arguments[2]).serialize(**kept)


BFV_4096 = (tenseal.SCHEME_TYPE.BFV, 4096, {"plain_modulus": 1032193})
CKKS_8192 = (tenseal.SCHEME_TYPE.CKKS, 8192, {"coeff_mod_bit_sizes": [60, 40, 40]})


# --- The one that is taken -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.encryption}-{spec.bits}-{spec.parameters.degree}")
def test_everybodys_context_is_taken_and_holds_parameters_only(spec):
    data = public_context(spec)
    check_context(data, spec, "h1")
    assert public_context(spec) == data
    assert len(data) < 200
    assert spec.parameters.modulus.to_bytes(8, "big") in data


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.encryption}-{spec.bits}-{spec.parameters.degree}")
def test_the_context_of_another_release_of_seal_is_the_same(spec):
    with another_seal():
        theirs = public_context(spec)
    assert theirs == public_context(spec)


def test_control_as_seal_serializes_them_parameters_tell_releases_apart():
    with another_seal():
        theirs = serialized_parameters(SPEC)
    assert len(theirs) == len(serialized_parameters(SPEC))
    assert theirs != serialized_parameters(SPEC)


def test_contexts_of_other_encryptions_widths_and_degrees_are_others():
    exact = [spec for spec in SPECS if spec.encryption is Encryption.BFV]
    assert len({public_context(spec) for spec in exact}) == len(exact)
    for spec in exact:
        for other in SPECS:
            if public_context(other) != public_context(spec):
                assert refused(public_context(other), spec) == "other-context"


# --- Keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [BFV_4096, CKKS_8192], ids=["bfv", "ckks"])
def test_a_context_of_tenseal_with_its_secret_key_is_key_material_and_without_it_another_context(which):
    for public in (True, False):
        assert refused(tenseal_bytes(*which, save_secret_key=True, save_public_key=public)) == "key-material"
        assert refused(tenseal_bytes(*which, save_secret_key=False, save_public_key=public)) == "other-context"


def test_a_context_with_all_the_keys_there_are_is_key_material():
    context = tenseal.context(*BFV_4096[:2], **BFV_4096[2])
    context.generate_galois_keys()
    data = context.serialize(save_secret_key=True, save_galois_keys=True, save_relin_keys=True)
    assert refused(data) == "key-material"


@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: f"{spec.encryption}-{spec.bits}")
def test_a_secret_key_of_seal_is_key_material_also_the_groups_own(spec):
    channel = Channel(2 * 8 * spec.block)
    assert refused(channel.saved(cipher_for(spec, SEED)._secret), spec) == "key-material"
    own = sealapi.KeyGenerator(make_context(spec.parameters, spec.encryption, spec.bits)).secret_key()
    assert refused(channel.saved(own), spec) == "key-material"


def test_whatever_seal_has_saved_is_taken_for_a_key_and_seal_is_not_asked(monkeypatch):
    """A public key is none, nor are parameters: but only SEAL could tell, and it would inflate them first."""
    public, channel = sealapi.PublicKey(), Channel(1 << 20)
    sealapi.KeyGenerator(make_context(SMALL, Encryption.BFV, 48)).create_public_key(public)
    parameters = encryption_parameters(SMALL, Encryption.BFV, SPEC.bits)
    saved = [channel.saved(public), channel.saved(parameters), channel.saved(cipher_for(SPEC, SEED)._secret)]
    monkeypatch.setattr(Channel, "load_raw", lambda *arguments: pytest.fail("it was loaded"))
    for data in (*saved, *(data[:3] for data in saved)):
        assert refused(data) == "key-material"
    for data in saved:
        assert refused(b"\0" + data) == "other-context"


def test_what_would_inflate_to_gigabytes_is_refused_as_it_is(monkeypatch):
    frame = inflating_frame(1 << 31)
    assert len(frame) < 1 << 17
    monkeypatch.setattr(Channel, "load_raw", lambda *arguments: pytest.fail("it was loaded"))
    assert refused(saved_compressed(frame)) == "key-material"
    assert refused(b"\x1a\x80\x80\x04\x0a\x80\x80\x03" + saved_compressed(frame)) == "key-material"


def test_the_frame_that_inflates_is_one():
    """Its control: Zstandard takes it, and makes as many bytes of it as it says."""
    size = 1 << 20
    assert zstandard.ZstdDecompressor().decompress(inflating_frame(size), max_output_size=size) == bytes(size)


def test_a_key_is_found_without_loading_it(monkeypatch):
    """A context of some 70 kB may say that it had Galois keys: TenSEAL would make them all."""
    data = tenseal_bytes(*BFV_4096, save_secret_key=True, save_public_key=False)
    # Fields that come later are added to those that are there: relinearization keys, Galois keys.
    greedy = data + b"\x1a\x04\x10\x01\x18\x01"
    assert tenseal.context_from(greedy).has_galois_keys()
    monkeypatch.setattr(tenseal, "context_from", lambda data: pytest.fail("it was loaded"))
    assert refused(greedy) == "key-material"


@pytest.mark.parametrize("field", [b"\x1a\x00", b"\x1a\x02\x0a\x00", b"\x08\x01"])
def test_a_message_full_of_fields_takes_no_longer_to_judge_than_a_context(monkeypatch, field):
    varint, read = context_module._varint, []

    def counted(data: bytes, position: int) -> tuple[int, int]:
        read.append(position)
        return varint(data, position)

    monkeypatch.setattr(context_module, "_varint", counted)
    assert refused(field * (CONTEXT_LIMIT // len(field))) == "other-context"
    assert len(read) < 1000


# --- Everything else -----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_another_context(data):
    assert refused(data) == "other-context"


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.integers(0, 200))
def test_a_changed_or_shortened_context_is_another(position, change, cut):
    data = bytearray(public_context(SPEC))
    data[position % len(data)] ^= change
    assert refused(bytes(data[: len(data) - cut])) == "other-context"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1a",  # A field whose size is missing,
        b"\x1a\xff\xff\xff\xff\x0f",  # one of 4 GiB,
        b"\x1a" + b"\xff" * 20,  # a size without an end,
        b"\x1a\x02\x0a\x7f" + b"\x5e\xa1\x10",  # a key that begins and is cut off, of more than is there,
        b"\x1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" * 100,
        b"\x0b" * 1000,  # groups that do not end.
        bytes(10_000),
        pickle.dumps({"context": public_context}),
        b"\x5e\xa1\x10" + b"\xff" * 200,
    ],
)
def test_bytes_that_begin_like_something_are_refused_and_nothing_worse(data):
    assert refused(data) in ("other-context", "key-material")


def test_fields_of_a_message_are_found_in_any_order_and_as_often_as_they_come():
    message = b"\x08\x05" + b"\x1a\x02ab" + b"\x21" + bytes(8) + b"\x1a\x01c" + b"\x2d" + bytes(4) + b"\x12\x01d"
    assert list(context_module._contents(message, 3)) == [b"ab", b"c"]
    assert list(context_module._contents(message, 2)) == [b"d"]
    assert list(context_module._contents(message, 1)) == []
