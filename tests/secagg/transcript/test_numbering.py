"""A round that lacks is found whenever a sum could be in it; one that no epoch had room for is told of as skipped."""

from __future__ import annotations

import pytest

from secagg.transcript.audit import Claim, EpochAudit, Finding
from secagg.transcript.numbering import check_numbering
from tests.support.consortium import Consortium


@pytest.fixture
def charter(tmp_path):
    return Consortium.make(tmp_path, 5).charter


def epoch(number, first, last, until, **more):
    return EpochAudit(number, first, last, room_until=until, **more)


def found(charter, *audits):
    """The epochs where rounds lack, in words, and the rounds that are told of as skipped."""
    numbering = check_numbering(audits, charter)
    lacking = [finding.message.split(" in no epoch")[0] for finding in numbering.misfits]
    return lacking, [(skipped.first, skipped.last) for skipped in numbering.skipped]


def test_a_round_that_no_epoch_had_room_for_is_skipped_and_lacks_in_none(charter):
    assert found(charter, epoch(1, 1, 2, 2), epoch(2, 6, 7, 7)) == ([], [(3, 5)])
    assert found(charter, epoch(1, 4, 5, 5)) == ([], [(1, 3)])


def test_a_file_that_was_taken_away_from_the_middle_is_found_with_all_rounds_it_may_have_had(charter):
    assert found(charter, epoch(1, 1, 2, 2), epoch(3, 6, 7, 7)) == (["Rounds 3 to 5 are"], [])
    assert found(charter, epoch(2, 3, 4, 4)) == (["Rounds 1 to 2 are"], [])


def test_an_end_that_was_taken_away_is_found_as_far_as_the_epoch_had_room(charter):
    assert found(charter, epoch(1, 1, 2, 3), epoch(2, 6, 7, 7)) == (["Round 3 is"], [(4, 5)])
    assert found(charter, epoch(1, 1, 2, 9), epoch(2, 6, 7, 7)) == (["Rounds 3 to 5 are"], [])


def test_an_epoch_without_a_round_proves_nothing_as_nobody_need_have_signed_how_it_was_opened(charter):
    no_round = epoch(2, 3, 2, 3)
    assert found(charter, epoch(1, 1, 2, 2), no_round, epoch(3, 6, 7, 7)) == (["Rounds 3 to 5 are"], [])
    moved = epoch(2, 6, 5, 7)
    assert found(charter, epoch(1, 1, 2, 2), moved, epoch(3, 6, 7, 7)) == (["Rounds 3 to 5 are"], [])
    from_nowhere = epoch(2, 0, -1, 9)
    assert found(charter, epoch(1, 1, 2, 2), from_nowhere, epoch(3, 6, 7, 7)) == (["Rounds 3 to 5 are"], [])
    # Control: where its set-up failed and nothing was taken away, the next epoch begins where it would have.
    assert found(charter, epoch(1, 1, 2, 2), no_round, epoch(3, 3, 4, 4)) == ([], [])


BROKEN = {
    "damaged": {"damaged": True},
    "judged no further": {"findings": [Finding(2, 3, "output-differs", "")]},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_an_epoch_that_breaks_off_may_hold_is_not_said_to_lack_and_more_is(charter, broken):
    before, rest = epoch(1, 1, 2, 2), epoch(2, 3, 3, 6, **broken)
    assert found(charter, before, rest, epoch(3, 7, 8, 8)) == ([], [])
    assert found(charter, before, rest, epoch(4, 9, 9, 12)) == (["Rounds 7 to 8 are"], [])


def test_of_a_file_that_is_damaged_from_its_beginning_only_as_many_rounds_as_it_can_hold_may_be_in_it(charter):
    most = charter.charter.epoch_rounds
    unread = EpochAudit(2, damaged=True)
    assert found(charter, epoch(1, 1, 2, 2), unread, epoch(3, 3 + most, 9 + most, 9 + most)) == ([], [])
    lacking, _ = found(charter, epoch(1, 1, 2, 2), unread, epoch(4, 4 + most, 9 + most, 9 + most))
    assert lacking == [f"Round {3 + most} is"]


def test_who_had_signed_that_it_masked_such_a_round_is_named_and_who_says_so_later_is_not(charter):
    names = [member.name for member in charter.charter.members]
    around = EpochAudit(claims=[Claim(2, 1, 900), Claim(1, 1, 2), Claim(3, 2, 7)])
    (skipped,) = check_numbering((around, epoch(1, 1, 2, 2), epoch(2, 6, 7, 7)), charter).skipped
    assert skipped.message.endswith(f"By then {names[1]} had signed that it masked for round 900.")
    assert names[2] not in skipped.message
