"""Every round that is in no epoch is found, and whoever had signed for one that far on is named."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.masking import MaskingServer, Purpose, Session
from secagg.transcript import TranscriptWriter, audit_folder
from secagg.transcript.audit import Claim, EpochAudit, Finding
from secagg.transcript.numbering import check_numbering
from tests.support.consortium import Consortium


@pytest.fixture
def consortium(tmp_path):
    return Consortium.make(tmp_path, 5)


@pytest.fixture
def charter(consortium):
    return consortium.charter


def epoch(number, first, last, until, **more):
    return EpochAudit(number, first, last, room_until=until, **more)


def found(charter, *audits):
    """Where rounds lack, in words."""
    return [finding.message.split(" in no epoch")[0] for finding in check_numbering(audits, charter)]


def test_a_round_that_is_in_no_epoch_is_found_whether_or_not_one_had_room_for_it(charter):
    for until in (2, 3, 9):
        assert found(charter, epoch(1, 1, 2, until), epoch(2, 6, 7, 7)) == ["Rounds 3 to 5 are"]
    assert found(charter, epoch(1, 1, 2, 2), epoch(3, 6, 7, 7)) == ["Rounds 3 to 5 are"]
    assert found(charter, epoch(1, 1, 2, 2), epoch(2, 4, 4, 4)) == ["Round 3 is"]
    assert found(charter, epoch(1, 4, 5, 5)) == ["Rounds 1 to 3 are"]


def test_an_epoch_without_a_round_accounts_for_none(charter):
    no_round = epoch(2, 3, 2, 3)
    assert found(charter, epoch(1, 1, 2, 2), no_round, epoch(3, 6, 7, 7)) == ["Rounds 3 to 5 are"]
    moved = epoch(2, 6, 5, 7)
    assert found(charter, epoch(1, 1, 2, 2), moved, epoch(3, 6, 7, 7)) == ["Rounds 3 to 5 are"]
    from_nowhere = epoch(2, 0, -1, 9)
    assert found(charter, epoch(1, 1, 2, 2), from_nowhere, epoch(3, 6, 7, 7)) == ["Rounds 3 to 5 are"]
    # Control: where its set-up failed and nothing was taken away, the next epoch begins where it would have.
    assert found(charter, epoch(1, 1, 2, 2), no_round, epoch(3, 3, 4, 4)) == []


def test_an_epoch_that_was_taken_out_is_found_though_the_one_before_was_opened_beyond_it(consortium, tmp_path):
    """The coordinator alone lies: it writes down a round that it tells nobody of, and goes back for three sums."""
    kept = tmp_path / "kept"
    vectors = consortium.random_vectors(np.random.default_rng(1))

    def run(number, first, steps):
        session = Session(consortium.charter, number, Purpose.TRAINING, first, len(steps) or 1)
        consortium.server = MaskingServer(session, journal=TranscriptWriter(kept, number))
        consortium.set_up()
        for step in steps:
            consortium.run_round(vectors, step=step)
            assert consortium.server.result

    run(1, 1, (1, 2, 3))
    run(2, 7, ())
    consortium.server.begin(4)
    consortium.server.timeout()
    run(3, 4, (4, 5, 6))
    run(4, 8, (7,))
    (kept / "epoch-000003.transcript").unlink()
    (finding,) = audit_folder(kept, consortium.charter).findings
    assert finding.reason == "missing-round"
    assert finding.message.startswith(
        "Rounds 4 to 6 are in no epoch of the transcript. No claim that a hospital signed"
    )


BROKEN = {
    "damaged": {"damaged": True},
    "judged no further": {"findings": [Finding(2, 3, "output-differs", "")]},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_an_epoch_that_breaks_off_may_hold_is_not_said_to_lack_and_more_is(charter, broken):
    before, rest = epoch(1, 1, 2, 2), epoch(2, 3, 3, 6, **broken)
    for next_epoch in (5, 7):
        assert found(charter, before, rest, epoch(3, next_epoch, 8, 8)) == []
    assert found(charter, before, rest, epoch(4, 9, 9, 12)) == ["Rounds 7 to 8 are"]


def test_of_a_file_that_is_damaged_from_its_beginning_only_as_many_rounds_as_it_can_hold_may_be_in_it(charter):
    most = charter.charter.epoch_rounds
    unread = EpochAudit(2, damaged=True)
    assert found(charter, epoch(1, 1, 2, 2), unread, epoch(3, 3 + most, 9 + most, 9 + most)) == []
    lacking = found(charter, epoch(1, 1, 2, 2), unread, epoch(4, 4 + most, 9 + most, 9 + most))
    assert lacking == [f"Round {3 + most} is"]


def told_of(charter, *claims):
    """What is said of rounds 3 to 5, which are in no epoch."""
    (finding,) = check_numbering((EpochAudit(claims=list(claims)), epoch(1, 1, 2, 2), epoch(2, 6, 7, 9)), charter)
    return finding.message.removeprefix("Rounds 3 to 5 are in no epoch of the transcript. ")


@pytest.mark.parametrize("entered", [1, 2, 2**32 - 1])
def test_who_had_signed_for_a_round_that_no_epoch_has_is_named_whatever_epoch_it_names(charter, entered):
    names = [member.name for member in charter.charter.members]
    told = told_of(charter, Claim(2, entered, 900), Claim(4, entered, 4), Claim(1, 1, 2), Claim(3, 2, 7))
    assert told.startswith(
        f"{names[1]} had signed that it masked or paid for round 900, "
        f"{names[3]} had signed that it masked or paid for round 4. An honest coordinator leaves out up to three rounds"
    )
    assert names[2] not in told


def test_who_claims_a_round_of_a_later_epoch_without_having_entered_it_is_named_too(charter):
    assert told_of(charter, Claim(2, 1, 7)).startswith(f"{charter.charter.member(2).name} had signed")


def test_where_nobody_claims_one_it_is_said_what_may_have_happened(charter):
    told = told_of(charter, Claim(3, 2, 7))
    assert told.startswith("No claim that a hospital signed")
    assert "the coordinator was stopped just as it began a round" in told
