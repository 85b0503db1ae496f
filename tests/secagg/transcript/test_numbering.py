"""Every round that is in no epoch is found, with who had signed for one that far on; and every sum that is missing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Event
from secagg.transcript import TranscriptWriter, audit_epoch, audit_folder, numbering
from secagg.transcript.audit import Claim, EpochAudit, Finding, RoundAudit
from secagg.transcript.numbering import check_numbering
from tests.support.consortium import Consortium
from tests.support.transcripts import with_a_sum_taken_away


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
    rounds, sums = audit_folder(kept, consortium.charter).findings
    assert (rounds.reason, sums.reason) == ("missing-round", "missing-sum")
    assert rounds.message.startswith("Rounds 4 to 6 are in no epoch of the transcript. No claim that a hospital signed")
    assert rounds.message.endswith("As sums are missing there, too, a file was taken away or lost, or the end of one.")
    assert sums.message.startswith("Sums 4 to 6 of training are not in the transcript")


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


# --- Sums -----------------------------------------------------------------------------------------------------


def made(number, step, purpose=Purpose.TRAINING):
    return RoundAudit(number, step, purpose, ("h1",), "0" * 64)


def failed(number, step):
    return RoundAudit(number, step, Purpose.TRAINING, (), None)


def lacking(charter, *audits):
    """Which sums are said to be missing."""
    found = [finding for finding in check_numbering(audits, charter) if finding.reason == "missing-sum"]
    return [finding.message.split(" not in the transcript")[0] for finding in found]


def with_rounds(number, *rounds, **more):
    first, last = rounds[0].round, rounds[-1].round
    return epoch(number, first, last, last, rounds=list(rounds), **more)


@pytest.fixture
def three_sums(consortium):
    """The events of an epoch of three sums, all of which every hospital took."""
    events: list[Event] = []
    vectors = consortium.random_vectors(np.random.default_rng(1))
    session = Session(consortium.charter, 1, Purpose.TRAINING, 1, 3)
    consortium.server = MaskingServer(session, journal=events.append)
    consortium.set_up()
    for step in (1, 2, 3):
        consortium.run_round(vectors, step=step)
        assert consortium.server.result
    return events


@pytest.mark.parametrize("number", [1, 2])
def test_a_sum_that_the_coordinator_writes_out_of_a_round_is_found_by_those_that_build_on_it(
    charter, three_sums, number
):
    audit = audit_epoch(with_a_sum_taken_away(three_sums, charter, number), charter)
    assert audit.findings == []
    assert [found.round for found in audit.rounds if found.payload_sha256 is None] == [number]
    assert lacking(charter, audit) == [f"Sum {number} of training is"]


def test_control_without_a_count_of_the_steps_nothing_is_found(charter, three_sums, monkeypatch):
    audit = audit_epoch(with_a_sum_taken_away(three_sums, charter, 2), charter)
    monkeypatch.setattr(numbering, "_holes", lambda *_: ())
    assert check_numbering([audit], charter) == []


def test_control_the_whole_epoch_lacks_no_sum(charter, three_sums):
    assert check_numbering([audit_epoch(three_sums, charter)], charter) == []


def test_limit_a_coordinator_that_numbers_the_steps_anew_leaves_no_hole(charter, three_sums):
    """Then there are fewer sums than the release states."""
    events = with_a_sum_taken_away(three_sums, charter, 2, numbered=lambda step: min(step, 2))
    audit = audit_epoch(events, charter)
    assert [found.step for found in audit.rounds if found.payload_sha256] == [1, 2]
    assert check_numbering([audit], charter) == []


def test_a_step_that_failed_or_was_made_anew_or_whose_rounds_were_left_out_lacks_no_sum(charter):
    assert lacking(charter, with_rounds(1, made(1, 1), failed(2, 2), made(3, 2), made(4, 3))) == []
    assert lacking(charter, with_rounds(1, made(1, 1), made(2, 2)), with_rounds(2, made(3, 2), made(4, 3))) == []
    left_out = with_rounds(1, made(1, 1)), with_rounds(2, made(5, 2))
    assert lacking(charter, *left_out) == []
    (finding,) = check_numbering(left_out, charter)
    assert "As the coordinator numbers the sums, none is missing there." in finding.message


def test_where_no_later_sum_is_known_the_steps_tell_nothing_of_rounds_that_are_missing(charter):
    (finding,) = check_numbering((with_rounds(1, made(1, 1)), with_rounds(2, failed(5, 2))), charter)
    assert finding.message.endswith("The number of sums in the release and the logs of the hospitals tell which.")


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_sums_that_an_epoch_may_hold_that_breaks_off_are_not_said_to_lack_and_later_ones_are(charter, broken):
    rest = epoch(1, 1, 1, 3, rounds=[made(1, 1)], **broken)
    assert lacking(charter, rest, with_rounds(2, made(4, 4), made(5, 5))) == []
    assert lacking(charter, rest, with_rounds(2, made(4, 4), made(5, 6))) == ["Sum 5 of training is"]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_epoch_that_breaks_off_excuses_no_more_sums_than_it_had_room_for(charter, broken):
    """A byte is flipped in one file, and a whole epoch after it is written anew, as if it had given no sum."""
    rest = epoch(1, 1, 2, 3, rounds=[made(1, 1), made(2, 2)], **broken)
    written = with_rounds(2, *(failed(number, 4) for number in range(4, 9)))
    assert lacking(charter, rest, written, with_rounds(3, made(9, 9))) == ["Sums 4 to 8 of training are"]
    # Control: the sum that it had room for may be in it.
    assert lacking(charter, rest, with_rounds(3, made(4, 4))) == []


def test_of_several_that_break_off_each_may_hold_as_many_as_it_had_room_for(charter):
    unread = EpochAudit(2, damaged=True), EpochAudit(3, damaged=True)
    most = 2 * charter.charter.epoch_rounds
    before = with_rounds(1, made(1, 1))
    assert lacking(charter, before, *unread, with_rounds(4, made(2 + most, 2 + most))) == []
    assert lacking(charter, before, *unread, with_rounds(4, made(3 + most, 3 + most))) == [
        f"Sum {2 + most} of training is"
    ]


def test_statistics_and_training_are_counted_apart_and_training_builds_on_both(charter):
    content = replace(charter.charter, statistics=replace(charter.charter.statistics, features=3))
    scaled = SimpleNamespace(charter=content)
    assert lacking(scaled, with_rounds(1, made(1, 1, Purpose.STATISTICS)), with_rounds(2, made(2, 1))) == []
    assert lacking(scaled, with_rounds(1, made(1, 1))) == ["Sum 1 of statistics is"]
    assert lacking(charter, with_rounds(1, made(1, 1))) == []
