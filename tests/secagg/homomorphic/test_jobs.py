"""Ciphertexts that several processes make, open and add are those of one, and a lost worker costs a sum or nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from secagg.encoding.ring import Ring
from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.homomorphic import jobs, services, vectors
from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.jobs import AddJob, DecryptJob, EncryptJob, cipher_brief, pieces, taking
from secagg.homomorphic.services import DecryptService, EncryptService, FormBrief
from secagg.homomorphic.vectors import CiphertextSum, decrypt_vector, encrypt_vector
from secagg.homomorphic.words import pack_words, words_size
from secagg.processes import team as teams
from secagg.processes.team import Spare, Team
from secagg.processes.worker import SLOT_BYTES, Worker, first_to_answer
from tests.support.ciphers import SEED, SMALL, cipher_for

PATIENCE = 60
LENGTH = 9 * 4096 + 5


@pytest.fixture(params=[exact_form, approximate_form], ids=["bfv", "ckks"])
def form(request) -> EncryptedForm:
    return request.param(SMALL, Ring(24), LENGTH, 4)


@pytest.fixture
def team(monkeypatch, form) -> Iterator[Team]:
    """Two ready workers, who are asked however little there is to do."""
    monkeypatch.setattr(vectors, "PARALLEL_FROM_BLOCKS", 1)
    monkeypatch.setattr(vectors, "PARALLEL_ADD_FROM_BLOCKS", 1)
    monkeypatch.setattr(teams, "usable_cores", lambda: 3)
    spare = Spare()
    monkeypatch.setattr(teams, "SPARE", spare)
    team = spare.take()
    assert len(team.workers) == 2
    for worker in team.workers:
        assert first_to_answer([worker], PATIENCE)
        assert list(worker.collect(AddJob(form))) == []
        assert worker.ready
    spare.give_back(team)
    yield team
    team.disband()


def signed(form: EncryptedForm, seed: int) -> np.ndarray:
    largest = form.codec.ring.largest // 4
    return np.random.default_rng(seed).integers(-largest, largest + 1, form.length)


def packed(form: EncryptedForm, vector: np.ndarray) -> np.ndarray:
    return form.codec.pack(form.codec.ring.from_signed(vector))


def fresh(form: EncryptedForm, vector: np.ndarray) -> bytearray:
    out = bytearray(form.fresh_size)
    encrypt_vector(packed(form, vector), form, cipher_for(form.spec), memoryview(out))
    return out


def opened(form: EncryptedForm, total: bytearray) -> list[int]:
    elements = decrypt_vector(memoryview(total), form, cipher_for(form.spec))
    return form.codec.ring.to_signed(form.codec.unpack(elements, form.length)).tolist()


def taken(form: EncryptedForm, sums: CiphertextSum) -> bytearray:
    total = bytearray(form.sum_size)
    sums.take(memoryview(total))
    return total


def test_vectors_that_workers_encrypt_add_and_decrypt_give_the_exact_sum(form, team):
    several, truth = [signed(form, seed) for seed in range(3)], 0
    sums = CiphertextSum(form)
    for vector in several:
        sums.add(memoryview(fresh(form, vector)))
        truth = truth + vector
    assert opened(form, taken(form, sums)) == truth.tolist()
    assert len(team.workers) == 2


def test_the_sum_is_the_same_to_the_bit_whoever_adds(form, team, monkeypatch):
    several = [fresh(form, signed(form, seed)) for seed in range(3)]
    shared = CiphertextSum(form)
    for vector in several:
        shared.add(memoryview(vector))
    together = taken(form, shared)
    monkeypatch.setattr(vectors, "PARALLEL_ADD_FROM_BLOCKS", 1 << 60)
    alone = CiphertextSum(form)
    for vector in several:
        alone.add(memoryview(vector))
    assert taken(form, alone) == together


def test_no_two_blocks_of_workers_have_their_randomness_in_common(form, team):
    size = form.spec.fresh_block_size
    blocks = [
        bytes(data[start : start + size])
        for data in (fresh(form, signed(form, 1)) for _ in range(3))
        for start in range(0, form.fresh_size, size)
    ]
    assert len({block[:64] for block in blocks}) == 3 * form.blocks
    assert len({block[64:] for block in blocks}) == 3 * form.blocks


def test_a_block_that_is_none_is_refused_when_workers_open_it_too(form, team):
    sums = CiphertextSum(form)
    sums.add(memoryview(fresh(form, signed(form, 1))))
    total, size = taken(form, sums), words_size(form.spec.block)
    for block in range(form.blocks):
        broken, words = bytearray(total), np.zeros(form.spec.block, np.uint64)
        words[-1] = form.spec.parameters.modulus
        pack_words(words, memoryview(broken)[2 * block * size : (2 * block + 1) * size])
        with pytest.raises(RemoteProtocolError) as caught:
            decrypt_vector(memoryview(broken), form, cipher_for(form.spec))
        assert caught.value.reason == "malformed"
    assert opened(form, total) == signed(form, 1).tolist()


def go_on(form: EncryptedForm, sums: CiphertextSum) -> None:
    """Add more, and take the sum."""
    for seed in range(3):
        sums.add(memoryview(fresh(form, signed(form, seed))))
    taken(form, sums)


def test_a_lost_worker_loses_the_sum_and_says_so(form, team):
    sums = CiphertextSum(form)
    sums.add(memoryview(fresh(form, signed(form, 1))))
    team.workers[0]._process.kill()
    team.workers[0]._process.wait()
    with pytest.raises(LocalProtocolError) as caught:
        go_on(form, sums)
    assert caught.value.reason == "worker-lost"
    assert caught.value.remedy


def test_a_lost_worker_costs_an_encryption_nothing(form, team):
    team.workers[0]._process.kill()
    assert len(fresh(form, signed(form, 1))) == form.fresh_size
    sums = CiphertextSum(form)
    vector = fresh(form, signed(form, 2))
    sums.add(memoryview(vector))


def test_pieces_are_all_blocks_once_and_fit_into_a_slot(form):
    found = pieces(form, 0, form.blocks)
    assert [first for first, _ in found] == sorted(first for first, _ in found)
    assert sum(count for _, count in found) == form.blocks
    for first, count in found:
        assert count * form.spec.sum_block_size <= SLOT_BYTES
        assert count * 8 * form.spec.block <= SLOT_BYTES
        assert first + count <= form.blocks
    assert [(first, count % (1 << 32)) for first, count in taking(found)] == list(found)
    assert deque() == pieces(form, 3, 3)


def test_the_seed_is_in_the_brief_of_who_needs_it_and_in_no_repr(form):
    cipher = cipher_for(form.spec, SEED)
    elements = packed(form, signed(form, 1))
    out = memoryview(bytearray(form.fresh_size))
    encrypting = EncryptJob(elements, form, cipher, out)
    decrypting = DecryptJob(memoryview(bytearray(form.sum_size)), form, cipher, elements)
    adding = AddJob(form)
    for job in (encrypting, decrypting):
        assert SEED in job.brief()
    assert SEED not in adding.brief()
    for shown in (encrypting, decrypting, adding, cipher_brief(form, cipher), cipher):
        assert SEED.hex() not in repr(shown)
        assert repr(SEED)[2:-1] not in f"{shown!r}{shown}"


def test_a_worker_of_another_release_than_its_employer_encrypts_and_opens_nothing(form, monkeypatch):
    """As one is that was started after an update, by an employer that was started before."""
    brief = msgspec.msgpack.encode(cipher_brief(form, cipher_for(form.spec)))
    for service in (EncryptService, DecryptService):
        service(brief)
    for changed in (another_secret, another_width):
        with monkeypatch.context() as update:
            changed(update)
            for service in (EncryptService, DecryptService):
                with pytest.raises(ValueError, match="encrypts otherwise than its employer"):
                    service(brief)


def another_secret(update) -> None:
    update.setattr(services, "Cipher", lambda spec, seed: Cipher(spec, seed[::-1]))


def another_width(update) -> None:
    """One bit less for what lies in a coefficient."""
    form = FormBrief.form

    def narrower(told: FormBrief) -> EncryptedForm:
        made = form(told)
        return replace(made, spec=replace(made.spec, bits=made.spec.bits - 1))

    update.setattr(FormBrief, "form", narrower)


def test_where_workers_are_of_another_release_this_process_does_their_pieces(form, team, monkeypatch):
    monkeypatch.setattr(jobs, "WORKERS", b"of another release")
    monkeypatch.setattr(vectors, "PARALLEL_ADD_FROM_BLOCKS", 1 << 60)
    # They may be late with the first vectors, and their end is noticed when something is expected of them.
    for seed in range(20):
        vector, sums = signed(form, seed), CiphertextSum(form)
        sums.add(memoryview(fresh(form, vector)))
        assert opened(form, taken(form, sums)) == vector.tolist()
    assert team.workers == []


def test_a_worker_is_started_in_vain_where_there_is_one_core(form, monkeypatch):
    monkeypatch.setattr(teams, "usable_cores", lambda: 1)
    monkeypatch.setattr(Worker, "start", lambda: pytest.fail("a worker was started"))
    monkeypatch.setattr(vectors, "PARALLEL_FROM_BLOCKS", 1)
    monkeypatch.setattr(teams, "SPARE", Spare())
    sums = CiphertextSum(form)
    sums.add(memoryview(fresh(form, signed(form, 1))))
    assert opened(form, taken(form, sums)) == signed(form, 1).tolist()
