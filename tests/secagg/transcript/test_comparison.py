"""Beside a hospital's own log, a transcript cannot hide what the coordinator sent or took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secagg.egress import Direction, EgressEntry
from secagg.masking.journal import Around, Received
from secagg.masking.messages import Refusal
from secagg.transcript import AROUND, EpochAudit, HospitalRecord, audit_epoch, compare, compare_all, lacks_the_end
from secagg.wire import Sealer, Stage, envelope
from secagg.wire.envelope import peek
from tests.support.consortium import Consortium
from tests.support.transcripts import MEMBERS, index_of


def audited(events, charter) -> EpochAudit:
    """Run again, with every member's messages kept in mind."""
    return audit_epoch(events, charter, heard=range(1, MEMBERS + 1))


def entry_of(stage: str, round_number: int, digest: str) -> EgressEntry:
    """Of a log; where in it does not matter."""
    return EgressEntry(
        sequence=1,
        previous="0" * 64,
        charter="0" * 64,
        direction=Direction.TOOK,
        stage=stage,
        epoch=1,
        round=round_number,
        recipient=1,
        bytes=1,
        sha256=digest,
        time="",
    )


def record_of(events, charter, number: int = 1, **changes) -> HospitalRecord:
    audit = audited(events, charter)
    taken = tuple(
        entry_of("SUM", record.round, record.payload_sha256) for record in audit.rounds if record.payload_sha256
    )
    settings = {"number": number, "name": f"h{number}", "sent": frozenset(audit.received[number]), "taken": taken}
    return HospitalRecord(**(settings | changes))


def test_a_hospital_that_took_the_recomputed_sums_agrees(recorded):
    consortium, events, _ = recorded
    audits = [audited(events, consortium.charter)]
    assert compare(audits, record_of(events, consortium.charter)) == []


def test_of_the_messages_of_hospitals_whose_logs_nobody_gives_nothing_is_kept_in_mind(recorded):
    consortium, events, _ = recorded
    assert audit_epoch(events, consortium.charter).received == {}
    received = audit_epoch(events, consortium.charter, heard={2}).received
    assert received == {2: audited(events, consortium.charter).received[2]}
    assert {len(digest) for digest in received[2]} == {32}


def test_a_sum_that_a_hospital_was_given_behind_the_transcripts_back_is_found(recorded):
    """The coordinator colludes, forges a sum with its tag, and keeps an honest transcript."""
    consortium, events, _ = recorded
    audits = [audited(events, consortium.charter)]
    honest = record_of(events, consortium.charter)
    forged = replace(honest, taken=(honest.taken[0], entry_of("SUM", 2, "0" * 64)))
    (finding,) = compare(audits, forged)
    assert (finding.reason, finding.round) == ("other-sum", 2)
    assert "h1" in finding.message


def test_a_round_that_the_transcript_does_not_know_is_found(recorded):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    audits = [audited(events, consortium.charter)]
    more = (*honest.taken, entry_of("SUM", 7, "0" * 64))
    (finding,) = compare(audits, replace(honest, taken=more))
    assert (finding.reason, finding.round) == ("missing-round", 7)


def test_a_forged_sum_in_the_number_of_a_round_whose_true_one_was_taken_later_is_found(recorded):
    """The coordinator colludes: the second round's sum, sent again after a forged one that bears its number."""
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    first, second = honest.taken
    forged = replace(honest, taken=(first, entry_of("MISSED_SUM", 2, "0" * 64), second))
    audits = [audited(events, consortium.charter)]
    assert [(finding.reason, finding.round) for finding in compare(audits, forged)] == [("other-sum", 2)]


def test_a_sum_that_a_hospital_never_took_is_found_by_its_having_taken_a_later_one(recorded):
    consortium, events, _ = recorded
    honest, audits = record_of(events, consortium.charter), [audited(events, consortium.charter)]
    _, second = honest.taken
    (finding,) = compare(audits, replace(honest, taken=(second,)))
    assert (finding.reason, finding.round) == ("not-taken", 1)


def test_a_hospital_that_was_away_or_caught_up_has_passed_over_nothing(recorded):
    consortium, events, _ = recorded
    honest, audits = record_of(events, consortium.charter), [audited(events, consortium.charter)]
    first, second = honest.taken
    audits[0].snapshots[1] = {"5" * 64}
    for taken in ((), (first,), (entry_of("SNAPSHOT", 0, "5" * 64), second), (first, second, first, second)):
        assert compare(audits, replace(honest, taken=taken)) == []


def test_a_sum_that_was_lost_and_summed_anew_need_not_have_been_taken(recorded):
    consortium, events, _ = recorded
    honest, audit = record_of(events, consortium.charter), audited(events, consortium.charter)
    _, second = honest.taken
    audit.rounds[0] = replace(audit.rounds[0], step=2)
    assert compare([audit], replace(honest, taken=(second,))) == []


@pytest.fixture
def broken_off(recorded):
    """What a hospital noted of two sums, and an epoch that is damaged after the first of them."""
    consortium, events, _ = recorded
    honest, audit = record_of(events, consortium.charter), audited(events, consortium.charter)
    audit.rounds, audit.damaged = audit.rounds[:1], True
    return honest, audit


def test_a_sum_that_may_follow_where_an_epoch_breaks_off_is_not_said_to_be_missing(broken_off):
    honest, audit = broken_off
    assert compare([audit], honest) == []
    # Nor is one from before that a later part may have summed anew.
    assert compare([audit], replace(honest, taken=honest.taken[1:])) == []


def test_control_what_no_part_that_is_lacking_can_hold_is_found_all_the_same(broken_off):
    honest, audit = broken_off
    first, second = honest.taken
    cases = {
        (first, entry_of("SUM", audit.room_until + 1, "0" * 64)): ["missing-round"],
        (entry_of("SUM", 1, "0" * 64), second): ["other-sum"],
        (first, entry_of("MISSED_SUM", 2, "0" * 64), second): ["other-sum"],
        (entry_of("SNAPSHOT", 0, "5" * 64),): ["missing-snapshot"],
    }
    for taken, reasons in cases.items():
        assert [finding.reason for finding in compare([audit], replace(honest, taken=taken))] == reasons
    audit.damaged = False
    assert [finding.reason for finding in compare([audit], honest)] == ["missing-round"]


def test_two_hospitals_that_took_different_sums_of_one_round_show_it_where_the_transcript_breaks_off_too(
    broken_off,
):
    """The coordinator colludes, forges a sum for one, and damages its own copy before that round."""
    honest, audit = broken_off
    forged = replace(honest, name="h2", taken=(honest.taken[0], entry_of("SUM", 2, "0" * 64)))
    assert compare([audit], honest) == compare([audit], forged) == []
    (finding,) = compare_all([audit], [honest, forged])
    assert (finding.reason, finding.epoch, finding.round) == ("other-sum", 1, 2)
    assert "h1 and h2 took different sums" in finding.message


def test_control_hospitals_that_took_the_same_sums_contradict_nobody(broken_off):
    honest, audit = broken_off
    first, second = honest.taken
    missed = replace(honest, name="h2", taken=(first, entry_of("MISSED_SUM", 2, second.sha256)))
    assert compare_all([audit], [honest, missed]) == []
    assert compare_all([audit], [honest, replace(honest, name="h2", taken=(first,))]) == []


def test_of_snapshots_nothing_is_said_where_the_file_that_would_hold_them_is_damaged(broken_off):
    honest, audit = broken_off
    taken = replace(honest, taken=(entry_of("SNAPSHOT", 0, "5" * 64),))
    assert compare([EpochAudit(received={1: {}}, damaged=True), audit], taken) == []


def test_a_snapshot_that_the_transcript_does_not_know_is_found(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    payload = Refusal("any", "payload")
    message = Sealer(consortium.charter, 2, consortium.identities[1], 1).seal(Stage.SNAPSHOT, payload, recipient=1)
    digest = peek(message).payload_digest.hex()
    record = HospitalRecord(1, "h1", frozenset(), (entry_of("SNAPSHOT", 0, digest),))
    handed = audited([Around(2, message)], consortium.charter)
    assert compare([handed], record) == []
    for audits in ([], [audited([Around(3, message)], consortium.charter)]):
        assert [finding.reason for finding in compare(audits, record)] == ["missing-snapshot"]


def test_a_message_that_the_hospitals_own_log_lacks_is_found(recorded):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    audits = [audited(events, consortium.charter)]
    sent = list(audits[0].received[1])
    lacking = replace(honest, sent=honest.sent - {sent[1]})
    (finding,) = compare(audits, lacking)
    assert finding.reason == "not-in-its-log"
    assert not lacks_the_end(audits, lacking)


def written_otherwise(events, wanted: Stage) -> list:
    """The same events, and after h1's message of that stage the same once more, its envelope in another encoding."""
    at = index_of(events, Received, wanted)
    signed = events[at].message
    return [*events[: at + 1], Received(events[at].member, b"\xdc\x00\x03" + signed[1:]), *events[at + 1 :]]


def test_a_message_that_the_coordinator_writes_in_another_way_is_not_held_against_its_senders_log(recorded):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    for wanted in (Stage.ADVERTISE, Stage.MASKED, Stage.REVEAL):
        audit = audited(written_otherwise(events, wanted), consortium.charter)
        assert (audit.findings, audit.refused) == ([], 1)
        assert compare([audit], honest) == []
        assert not lacks_the_end([audit], honest)


def test_control_where_any_encoding_opens_it_makes_an_honest_log_untrue(recorded, monkeypatch):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    monkeypatch.setattr(envelope, "_front", lambda *_: b"")
    audit = audited(written_otherwise(events, Stage.MASKED), consortium.charter)
    assert [finding.reason for finding in compare([audit], honest)] == ["not-in-its-log"]


def test_a_log_that_ends_before_the_transcript_does_may_be_older(recorded):
    consortium, events, _ = recorded
    audits = [audited(events, consortium.charter)]
    honest = record_of(events, consortium.charter)
    assert not lacks_the_end(audits, honest)
    for last in (1, 3, len(audits[0].received[1])):
        older = replace(honest, sent=honest.sent - set(list(audits[0].received[1])[-last:]))
        assert compare(audits, older) == []
        assert lacks_the_end(audits, older)


def test_messages_around_epochs_that_a_log_lacks_may_be_later_than_it_whatever_their_order(recorded):
    consortium, events, _ = recorded
    epoch, honest = audited(events, consortium.charter), record_of(events, consortium.charter)
    later, repeated = bytes(32), min(honest.sent)
    audits = [EpochAudit(epoch=AROUND, received={1: {later: None, repeated: None}}), epoch]
    assert compare(audits, honest) == []
    assert lacks_the_end(audits, honest)


def test_a_message_in_another_members_name_counts_for_nobody(recorded):
    consortium, events, _ = recorded
    at = index_of(events, Received, Stage.MASKED)
    audit = audited([*events, Around(3, events[at].message), Around(3, b"nonsense")], consortium.charter)
    assert audit.findings == []
    assert audit.refused == 2
