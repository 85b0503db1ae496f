"""Checkpoints of logs: what was signed is found altered wherever it is, and nobody speaks for another."""

from __future__ import annotations

import msgspec
import pytest

from secagg.errors import TamperingError
from secagg.identity import Identity
from secagg.log_excerpt import LogCheckpoint
from secagg.release.checkpoints import checkpoints_statement, sign_checkpoint, verify_checkpoints, verify_sites
from secagg.release.dsse import assemble, attest, read_envelope
from tests.support.consortium import make_charter, make_identities, sign_by_all

LEDGER, EGRESS = LogCheckpoint(3, "0a" * 32), LogCheckpoint(9, "0b" * 32)


@pytest.fixture(scope="module")
def identities():
    return dict(zip(("h1", "h2", "h3", "h4"), make_identities(4), strict=True))


@pytest.fixture(scope="module")
def charter(identities):
    return verified(identities)


def verified(identities, **changes):
    keys = tuple(identities.values())
    return sign_by_all(make_charter(keys, **changes), keys)


@pytest.fixture(scope="module")
def sites(charter, identities):
    return [sign_checkpoint(charter, name, LEDGER, EGRESS, identity) for name, identity in identities.items()]


@pytest.fixture(scope="module")
def signed(charter, identities, sites):
    statement = checkpoints_statement(charter, sites)
    return assemble(statement, [attest(statement, identity) for identity in identities.values()])


def refused(signed, charter):
    with pytest.raises(TamperingError) as caught:
        verify_checkpoints(signed, charter)
    return caught.value.reason, caught.value.culprit


def test_what_all_have_signed_is_verified(signed, charter):
    found = verify_checkpoints(read_envelope(signed.to_json()), charter)
    assert (found.by_name["h2"].ledger, found.by_name["h2"].egress) == (LEDGER, EGRESS)
    assert found.cosigned_by == ("h1", "h2", "h3", "h4")


def test_who_has_not_signed_is_not_said_to_have(signed, charter):
    fewer = msgspec.structs.replace(signed, signatures=signed.signatures[:2])
    assert len(verify_checkpoints(fewer, charter).cosigned_by) == 2


def test_every_byte_that_is_altered_is_found(signed, charter):
    data = signed.to_json()
    verify_checkpoints(read_envelope(data), charter)
    for place in range(len(data)):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(TamperingError):
            verify_checkpoints(read_envelope(altered), charter)


def test_nobody_speaks_for_another(charter, identities):
    forged = sign_checkpoint(charter, "h2", LEDGER, EGRESS, identities["h1"])
    statement = checkpoints_statement(charter, [forged])
    assert refused(assemble(statement, [attest(statement, identities["h1"])]), charter) == (
        "bad-checkpoint-signature",
        "h2",
    )


def test_a_stranger_and_one_who_signs_twice_are_named(signed, charter):
    stranger = attest(signed.payload, Identity.generate())
    twice = msgspec.structs.replace(signed, signatures=(*signed.signatures, signed.signatures[0]))
    for altered in (msgspec.structs.replace(signed, signatures=(stranger,)), twice):
        assert refused(altered, charter)[0] == "stray-signature"


def test_the_checkpoints_of_another_run_are_refused(identities, sites, signed, charter):
    other = verified(identities, epoch_rounds=7)
    assert refused(signed, other)[0] == "other-charter"
    # With the other charter in the statement, no hospital's own signature fits any more.
    with pytest.raises(TamperingError, match="is not what h1 signed"):
        verify_sites(checkpoints_statement(other, sites), other, "here")


def test_one_hospital_twice_is_refused(charter, sites):
    with pytest.raises(TamperingError, match="or tells of it twice"):
        verify_sites(checkpoints_statement(charter, [sites[0], sites[0]]), charter, "here")
