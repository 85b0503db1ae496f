"""Many signatures at once: the first false one is found, by however many processes."""

from __future__ import annotations

import os

import pytest

from secagg import signature_batch
from secagg.identity import Identity
from secagg.processes import team
from secagg.signature_batch import SignatureBatch, SignatureJob, SignatureService

LABEL = b"a test\n"
COUNT = 500


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="module")
def signed(identity) -> list[tuple[bytes, bytes]]:
    digests = [os.urandom(32) for _ in range(COUNT)]
    return [(digest, identity.sign(LABEL + digest)) for digest in digests]


def batch_of(signed, identity, label=LABEL) -> SignatureBatch:
    batch = SignatureBatch(identity.public_key, label)
    for digest, signature in signed:
        batch.add(digest, signature)
    return batch


@pytest.fixture(params=["here", "over processes"])
def spread(request, monkeypatch):
    if request.param == "over processes":
        monkeypatch.setattr(signature_batch, "PARALLEL_FROM_SIGNATURES", 0)
        monkeypatch.setattr(team, "usable_cores", lambda: 2)


@pytest.mark.usefixtures("spread")
def test_all_are_found_valid_and_so_is_nothing_at_all(signed, identity):
    assert batch_of(signed, identity).first_invalid() is None
    assert batch_of([], identity).first_invalid() is None


@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("places", [{0}, {COUNT - 1}, {199}, {200}, {450, 210, 230}])
def test_the_first_false_one_is_named_wherever_it_stands(signed, identity, places):
    altered = [
        (digest, bytes([signature[0] ^ 1]) + signature[1:] if number in places else signature)
        for number, (digest, signature) in enumerate(signed)
    ]
    assert batch_of(altered, identity).first_invalid() == min(places)


@pytest.mark.usefixtures("spread")
def test_another_digest_another_key_and_another_label_are_false(signed, identity):
    other = [*signed[:7], (bytes(32), signed[7][1]), *signed[8:]]
    assert batch_of(other, identity).first_invalid() == 7
    assert batch_of(signed, Identity.generate()).first_invalid() == 0
    assert batch_of(signed, identity, b"another\n").first_invalid() == 0


@pytest.mark.parametrize("sizes", [(31, 64), (32, 63), (64, 32), (0, 96)])
def test_what_is_no_digest_or_no_signature_is_refused(identity, sizes):
    with pytest.raises(ValueError, match="32 bytes and a signature 64"):
        batch_of([tuple(map(bytes, sizes))], identity)


def test_a_worker_counts_as_its_employer_does(signed, identity):
    items = bytearray(b"".join(digest + signature for digest, signature in signed))
    items[96 * 30] ^= 1
    job = SignatureJob(identity.public_key, LABEL, items)
    slot = memoryview(bytearray(96 * 100))
    for piece, valid in (((0, 100), 30), ((31, 100), 100), ((30, 5), 0)):
        job.hand_over(piece, slot)
        SignatureService(job.brief()).serve(piece, slot)
        assert job.result(piece, slot) == job.compute(piece) == valid
