"""The trial says how fast this machine encrypts, or why it cannot."""

from __future__ import annotations

import os

import numpy as np
import pytest

from secagg.charter.encryption import terms_of
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.homomorphic.cipher import BlockSums, Cipher
from secagg.homomorphic.form import approximate_form, exact_form
from secagg.homomorphic.parameters import ALLOWED
from tests.support.lacking_tenseal import without_tenseal
from training.encryption_trial import numbers_a_second

EVERY = [
    terms_of(make(parameters, Ring(bits), 10_000, 100))
    for make in (exact_form, approximate_form)
    for parameters in ALLOWED.values()
    for bits in (16, 24, 64)
]


@pytest.mark.parametrize("terms", EVERY, ids=lambda terms: f"{terms.spec.encryption}-{terms.spec.bits}")
def test_every_encryption_that_a_charter_can_have_works_here(terms):
    assert numbers_a_second(terms) > 1000


@pytest.mark.parametrize("members", [3, 7, 100])
def test_no_more_vectors_are_summed_than_there_are_hospitals_for_whose_noise_there_is_room(monkeypatch, members):
    add, added = BlockSums.add, []

    def noted(sums: BlockSums, first: int, data: memoryview) -> None:
        added.append(first)
        add(sums, first, data)

    monkeypatch.setattr(BlockSums, "add", noted)
    numbers_a_second(terms_of(approximate_form(ALLOWED["n8192-q60"], Ring(26), 10_000, members)))
    assert len(added) == min(members, 20)


def reason(terms) -> str:
    with pytest.raises(InputError) as caught:
        numbers_a_second(terms)
    assert "mask" in caught.value.remedy
    return caught.value.reason


def test_a_system_without_nameless_memory_is_told_so(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert reason(EVERY[0]) == "no-anonymous-memory"


def test_a_library_that_cannot_be_loaded_is_told_so():
    with without_tenseal():
        assert reason(EVERY[0]) == "no-tenseal"


def off_by_one(values: np.ndarray, _top: np.uint64) -> np.ndarray:
    values[7] += 1
    return values


def without_sign(values: np.ndarray, top: np.uint64) -> np.ndarray:
    return values & ~top


@pytest.mark.parametrize("wrongly", [off_by_one, without_sign])
@pytest.mark.parametrize("terms", [EVERY[0], EVERY[-1]], ids=["bfv", "ckks"])
def test_a_library_that_decrypts_wrongly_is_found_out(monkeypatch, terms, wrongly):
    decrypt, top = Cipher.decrypt, np.uint64(1 << (terms.spec.bits - 1))
    monkeypatch.setattr(Cipher, "decrypt", lambda cipher, data: wrongly(decrypt(cipher, data), top))
    assert reason(terms) == "wrong-sum"


@pytest.mark.parametrize("terms", [EVERY[0], EVERY[-1]], ids=["bfv", "ckks"])
def test_a_library_that_encrypts_negative_numbers_wrongly_is_found_out(monkeypatch, terms):
    encrypt, top = Cipher.encrypt, np.uint64(1 << (terms.spec.bits - 1))

    def as_positive(cipher: Cipher, values: np.ndarray, out: memoryview) -> None:
        encrypt(cipher, values & ~top, out)

    monkeypatch.setattr(Cipher, "encrypt", as_positive)
    assert reason(terms) == "wrong-sum"
