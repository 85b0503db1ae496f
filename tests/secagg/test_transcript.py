"""A transcript gives every sum again, to anybody, and shows what was altered, left out or put in."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.charter import VerifiedCharter
from secagg.egress import Direction, EgressEntry
from secagg.errors import InputError, RemoteProtocolError, TamperingError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Around, Begun, Event, Opened, Received, Sent, TimedOut, sent
from secagg.masking.messages import EncryptedSum, Refusal, ResponderReveal, Sum
from secagg.transcript import (
    AROUND,
    HospitalRecord,
    TranscriptWriter,
    audit_epoch,
    audit_folder,
    compare,
    cut_to_whole_events,
    read_events,
    transcript_files,
)
from secagg.transcript import audit as audit_module
from secagg.transcript.files import checkpoint_files
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import peek
from tests.support.consortium import Consortium, integer_sum, make_charter, make_identities, sign_by_all

MEMBERS = 5
ANY_SIZE = 1 << 20


@pytest.fixture
def recorded(tmp_path):
    """An epoch of three rounds: all answer; one drops out; too few answer. And the vectors."""
    consortium = Consortium.make(tmp_path, MEMBERS)
    events: list[Event] = []
    session = consortium.server.session
    consortium.server = MaskingServer(session, journal=events.append)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    sums = []
    for silent in (set(), {2}, {1, 2, 3}):
        consortium.run_round(vectors, mask_silent=silent, step=len(sums) + 1)
        result = consortium.server.result
        if result:
            expected = integer_sum(consortium, vectors, result.survivors.numbers)
            np.testing.assert_array_equal(session.ring.to_signed(result.vector), expected)
            sums.append(result)
    return consortium, events, sums


def payload_of(event: Sent, charter) -> Sum:
    return msgspec.msgpack.decode(open_envelope(event.message, charter, ANY_SIZE).payload, type=Sum)


def stage(event: Event) -> Stage | None:
    return peek(event.message).stage if isinstance(event, (Received, Sent, Around)) else None


def index_of(events, kind, wanted: Stage, number: int = 0) -> int:
    found = [i for i, event in enumerate(events) if isinstance(event, kind) and stage(event) is wanted]
    return found[number]


def reasons(events, charter) -> list[str]:
    return [finding.reason for finding in audit_epoch(events, charter).findings]


def test_every_sum_is_recomputed_from_the_recorded_messages_and_nothing_is_found(recorded):
    consortium, events, sums = recorded
    audit = audit_epoch(events, consortium.charter)
    assert audit.findings == []
    assert audit.refused == 0
    assert [record.round for record in audit.rounds] == [1, 2, 3]
    assert [record.survivors for record in audit.rounds] == [
        ("h1", "h2", "h3", "h4", "h5"),
        ("h1", "h3", "h4", "h5"),
        (),
    ]
    assert [record.payload_sha256 is None for record in audit.rounds] == [False, False, True]
    assert len(sums) == 2
    assert audit.messages == sum(isinstance(event, Received) for event in events)


def test_a_transcript_reads_back_as_it_was_written(recorded, tmp_path):
    _, events, _ = recorded
    write = TranscriptWriter(tmp_path / "kept", 1)
    for event in events:
        write(event)
    (path,) = transcript_files(tmp_path / "kept")
    assert list(read_events(path, ANY_SIZE)) == events
    assert path.stat().st_mode & 0o777 == 0o600


def test_neighbours_that_get_the_same_message_share_an_event():
    assert sent([(1, b"a"), (2, b"a"), (3, b"b"), (1, b"a")]) == [
        Sent((1, 2), b"a"),
        Sent((3,), b"b"),
        Sent((1,), b"a"),
    ]


# --- What a transcript cannot hide ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["bfv", "double-lock"])
def test_other_contributors_or_reveals_of_an_encrypted_sum_than_the_messages_lead_to_are_found(tmp_path, scheme):
    consortium, events = Consortium.make(tmp_path, MEMBERS, scheme=scheme), []
    consortium.server = MaskingServer(consortium.server.session, journal=events.append)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)), mask_silent={2})
    assert reasons(events, consortium.charter) == []
    place = index_of(events, Sent, Stage.SUM)
    true = msgspec.msgpack.decode(
        open_envelope(events[place].message, consortium.charter, ANY_SIZE).payload, type=EncryptedSum
    )
    first, *others = true.contributions
    for changes in (
        {"contributions": others},
        {"contributions": [*others, first]},
        {"contributions": [msgspec.structs.replace(first, payload_digest=bytes(32)), *others]},
        {"survivors": [1, 2, 4, 5]},
        {"reveals": [ResponderReveal(1, bytes(176))]},
    ):
        payload = msgspec.structs.replace(true, **changes)
        message = Sealer(consortium.charter, COORDINATOR, None, 1).seal(Stage.SUM, payload, round=1)
        altered = [*events[:place], Sent(events[place].members, message), *events[place + 1 :]]
        assert reasons(altered, consortium.charter) == ["output-differs"]


def with_altered_sum(events, charter) -> list[Event]:
    """A coordinator that sent another sum than the messages add up to, and says so."""
    at = index_of(events, Sent, Stage.SUM)
    payload = payload_of(events[at], charter)
    vector = bytes(payload.vector)
    altered = msgspec.structs.replace(payload, vector=memoryview(bytes([vector[0] ^ 1]) + vector[1:]))
    message = Sealer(charter, COORDINATOR, None, 1).seal(Stage.SUM, altered, round=1)
    return [*events[:at], Sent(events[at].members, message), *events[at + 1 :]]


def test_another_sum_than_the_messages_add_up_to_is_found_and_its_round_named(recorded):
    consortium, events, _ = recorded
    audit = audit_epoch(with_altered_sum(events, consortium.charter), consortium.charter)
    (finding,) = audit.findings
    assert (finding.reason, finding.epoch, finding.round) == ("output-differs", 1, 1)
    assert "SUM message of round 1" in finding.message


def test_control_an_audit_that_does_not_run_the_epoch_again_finds_nothing(recorded, monkeypatch):
    consortium, events, _ = recorded
    monkeypatch.setattr(audit_module._Replay, "_check_sent", lambda *_: True)
    monkeypatch.setattr(audit_module._Replay, "_expect", lambda *_: None)
    assert audit_epoch(with_altered_sum(events, consortium.charter), consortium.charter).findings == []


@pytest.mark.parametrize("wanted", [Stage.ADVERTISE, Stage.DEAL, Stage.MASKED, Stage.AGREE, Stage.REVEAL])
def test_a_message_that_is_left_out_is_noticed(recorded, wanted):
    consortium, events, _ = recorded
    at = index_of(events, Received, wanted, 1)
    assert reasons(events[:at] + events[at + 1 :], consortium.charter) != []


@pytest.mark.parametrize("wanted", [Stage.ADVERTISE, Stage.DEAL, Stage.MASKED, Stage.REVEAL])
def test_a_message_that_was_altered_is_refused_as_its_senders_and_the_rest_no_longer_fits(recorded, wanted):
    consortium, events, _ = recorded
    at = index_of(events, Received, wanted, 1)
    message = bytearray(events[at].message)
    message[-1] ^= 1
    audit = audit_epoch(
        [*events[:at], Received(events[at].member, bytes(message)), *events[at + 1 :]], consortium.charter
    )
    assert audit.refused >= 1
    assert audit.findings != []


def test_a_request_that_was_sent_to_others_than_it_was_due_to_is_found(recorded):
    consortium, events, _ = recorded
    at = index_of(events, Sent, Stage.UNMASK)
    altered = [*events[:at], Sent((1, 2, 3), events[at].message), *events[at + 1 :]]
    assert reasons(altered, consortium.charter) == ["output-differs"]


def test_a_second_request_for_other_survivors_is_found(recorded):
    """The attack that hospitals refuse: here it is seen afterwards too."""
    consortium, events, _ = recorded
    at = index_of(events, Sent, Stage.UNMASK, 1)
    assert reasons([*events[: at + 1], events[at], *events[at + 1 :]], consortium.charter) == ["output-differs"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda events: events[1:], "out-of-order"),
        (lambda events: [events[0], *events], "incomplete"),
        (lambda events: [*events[:3], events[0], *events[3:]], "out-of-order"),
        (lambda events: [*events, Begun(9)], "impossible"),
        (lambda events: [msgspec.structs.replace(events[0], purpose="mischief"), *events[1:]], "impossible"),
        (lambda events: [event for event in events if not isinstance(event, TimedOut)], "output-differs"),
    ],
    ids=["begins in the middle", "opened twice", "opened again", "a round too many", "no purpose", "without time-outs"],
)
def test_events_that_cannot_have_happened_so_are_found(recorded, change, reason):
    consortium, events, _ = recorded
    assert reasons(change(events), consortium.charter) == [reason]


def test_members_that_were_not_invited_are_part_of_what_is_checked(recorded):
    consortium, events, _ = recorded
    opened = events[0]
    assert isinstance(opened, Opened)
    fewer = msgspec.structs.replace(opened, invited=(1, 2, 3, 4))
    assert reasons([fewer, *events[1:]], consortium.charter) == ["output-differs"]


# --- Beside a hospital's own log ------------------------------------------------------------------------------


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
    audit = audit_epoch(events, charter)
    taken = tuple(
        entry_of("SUM", record.round, record.payload_sha256) for record in audit.rounds if record.payload_sha256
    )
    settings = {"number": number, "name": f"h{number}", "sent": frozenset(audit.received[number]), "taken": taken}
    return HospitalRecord(**(settings | changes))


def test_a_hospital_that_took_the_recomputed_sums_agrees(recorded):
    consortium, events, _ = recorded
    audits = [audit_epoch(events, consortium.charter)]
    assert compare(audits, record_of(events, consortium.charter)) == []


def test_a_sum_that_a_hospital_was_given_behind_the_transcripts_back_is_found(recorded):
    """The coordinator colludes, forges a sum with its tag, and keeps an honest transcript."""
    consortium, events, _ = recorded
    audits = [audit_epoch(events, consortium.charter)]
    honest = record_of(events, consortium.charter)
    forged = replace(honest, taken=(honest.taken[0], entry_of("SUM", 2, "0" * 64)))
    (finding,) = compare(audits, forged)
    assert (finding.reason, finding.round) == ("other-sum", 2)
    assert "h1" in finding.message


def test_a_round_that_the_transcript_does_not_know_is_found(recorded):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    audits = [audit_epoch(events, consortium.charter)]
    more = (*honest.taken, entry_of("SUM", 7, "0" * 64))
    (finding,) = compare(audits, replace(honest, taken=more))
    assert (finding.reason, finding.round) == ("missing-round", 7)


def test_a_forged_sum_in_the_number_of_a_round_whose_true_one_was_taken_later_is_found(recorded):
    """The coordinator colludes: the second round's sum, sent again after a forged one that bears its number."""
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    first, second = honest.taken
    forged = replace(honest, taken=(first, entry_of("MISSED_SUM", 2, "0" * 64), second))
    audits = [audit_epoch(events, consortium.charter)]
    assert [(finding.reason, finding.round) for finding in compare(audits, forged)] == [("other-sum", 2)]


def test_a_sum_that_a_hospital_never_took_is_found_by_its_having_taken_a_later_one(recorded):
    consortium, events, _ = recorded
    honest, audits = record_of(events, consortium.charter), [audit_epoch(events, consortium.charter)]
    _, second = honest.taken
    (finding,) = compare(audits, replace(honest, taken=(second,)))
    assert (finding.reason, finding.round) == ("not-taken", 1)


def test_a_hospital_that_was_away_or_caught_up_has_passed_over_nothing(recorded):
    consortium, events, _ = recorded
    honest, audits = record_of(events, consortium.charter), [audit_epoch(events, consortium.charter)]
    first, second = honest.taken
    audits[0].snapshots[1] = {"5" * 64}
    for taken in ((), (first,), (entry_of("SNAPSHOT", 0, "5" * 64), second), (first, second, first, second)):
        assert compare(audits, replace(honest, taken=taken)) == []


def test_a_sum_that_was_lost_and_summed_anew_need_not_have_been_taken(recorded):
    consortium, events, _ = recorded
    honest, audit = record_of(events, consortium.charter), audit_epoch(events, consortium.charter)
    _, second = honest.taken
    audit.rounds[0] = replace(audit.rounds[0], step=2)
    assert compare([audit], replace(honest, taken=(second,))) == []


def test_a_snapshot_that_the_transcript_does_not_know_is_found(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    payload = Refusal("any", "payload")
    message = Sealer(consortium.charter, 2, consortium.identities[1], 1).seal(Stage.SNAPSHOT, payload, recipient=1)
    digest = peek(message).payload_digest.hex()
    record = HospitalRecord(1, "h1", frozenset(), (entry_of("SNAPSHOT", 0, digest),))
    handed = audit_epoch([Around(2, message)], consortium.charter)
    assert compare([handed], record) == []
    for audits in ([], [audit_epoch([Around(3, message)], consortium.charter)]):
        assert [finding.reason for finding in compare(audits, record)] == ["missing-snapshot"]


def test_a_message_that_the_hospitals_own_log_lacks_is_found(recorded):
    consortium, events, _ = recorded
    honest = record_of(events, consortium.charter)
    audits = [audit_epoch(events, consortium.charter)]
    (finding,) = compare(audits, replace(honest, sent=honest.sent - {min(honest.sent)}))
    assert finding.reason == "not-in-its-log"


def test_a_message_in_another_members_name_counts_for_nobody(recorded):
    consortium, events, _ = recorded
    at = index_of(events, Received, Stage.MASKED)
    audit = audit_epoch([*events, Around(3, events[at].message), Around(3, b"nonsense")], consortium.charter)
    assert audit.findings == []
    assert audit.refused == 2


# --- Files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def written(recorded, tmp_path) -> Path:
    write = TranscriptWriter(tmp_path / "kept", 1)
    for event in recorded[1]:
        write(event)
    return transcript_files(tmp_path / "kept")[0]


@pytest.mark.parametrize("cut", [1, 7, 9])
def test_a_file_that_is_cut_off_is_found(written, cut):
    written.write_bytes(written.read_bytes()[:-cut])
    with pytest.raises(TamperingError) as caught:
        list(read_events(written, ANY_SIZE))
    assert caught.value.reason == "transcript-damaged"


@pytest.mark.parametrize("prefix", [b"\xff" * 8, (1 << 62).to_bytes(8, "big"), bytes(7) + b"\x05nonsense"])
def test_lengths_and_events_of_nonsense_are_refused_before_anything_is_allocated(written, prefix):
    written.write_bytes(prefix + written.read_bytes())
    with pytest.raises(TamperingError) as caught:
        list(read_events(written, ANY_SIZE))
    assert caught.value.reason == "transcript-damaged"


def test_a_folder_without_transcripts_says_so(tmp_path):
    with pytest.raises(InputError) as caught:
        transcript_files(tmp_path)
    assert caught.value.reason == "no-transcript"


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        TranscriptWriter(tmp_path / "file" / "below", 1)(TimedOut())
    assert caught.value.reason == "unwritable"


def test_statistics_are_run_again_like_training(tmp_path):
    events: list[Event] = []
    consortium = Consortium.make(tmp_path, 4)
    session = Session(consortium.charter, 1, Purpose.STATISTICS, 1, 2)
    consortium.server = MaskingServer(session, journal=events.append)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    audit = audit_epoch(events, consortium.charter)
    assert audit.findings == []
    assert [record.purpose for record in audit.rounds] == ["statistics"]


# --- A whole folder -------------------------------------------------------------------------------------------


@pytest.fixture
def kept(written, recorded) -> tuple[Path, VerifiedCharter]:
    TranscriptWriter(written.parent, AROUND)(Around(1, b"nonsense"))
    return written.parent, recorded[0].charter


def found_in(kept) -> list[str]:
    return [finding.reason for finding in audit_folder(*kept).findings]


def test_a_folder_is_whole(kept):
    assert found_in(kept) == []
    assert [audit.epoch for audit in audit_folder(*kept).epochs] == [0, 1]


TOO_MUCH = bytes(20 << 20)


class Overwhelmed(MaskingServer):
    """Is sent far too much before every message."""

    def receive(self, sender, message):
        with pytest.raises(RemoteProtocolError) as caught:
            super().receive(sender, TOO_MUCH)
        assert caught.value.reason == "oversized"
        return super().receive(sender, message)


def test_what_is_too_large_for_the_protocol_leaves_the_transcript_whole_and_small(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    write = TranscriptWriter(tmp_path / "kept", 1)
    consortium.server = Overwhelmed(consortium.server.session, journal=write)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)), mask_silent={2})
    assert consortium.server.result
    found = audit_folder(tmp_path / "kept", consortium.charter)
    assert found.findings == ()
    assert [len(record.survivors) for record in found.epochs[0].rounds] == [MEMBERS - 1]
    (path,) = transcript_files(tmp_path / "kept")
    assert path.stat().st_size < 1 << 20


def test_control_with_it_the_transcript_would_be_said_to_be_damaged(kept):
    TranscriptWriter(kept[0], 1)(Received(2, TOO_MUCH))
    assert "transcript-damaged" in found_in(kept)


def test_a_folder_without_an_epoch_or_its_first_rounds_is_incomplete(kept, recorded):
    folder, _ = kept
    (folder / "epoch-000001.transcript").rename(folder / "epoch-000001.kept")
    assert found_in(kept) == ["incomplete"]
    opened = msgspec.structs.replace(recorded[1][0], epoch=2, first_round=4)
    TranscriptWriter(folder, 2)(opened)
    assert found_in(kept) == ["missing-round"]


def test_an_epochs_file_under_another_number_is_found(kept):
    folder, _ = kept
    (folder / "epoch-000002.transcript").write_bytes((folder / "epoch-000001.transcript").read_bytes())
    assert found_in(kept) == ["out-of-order", "duplicate-round"]


@pytest.mark.parametrize(
    "name", ["epoch-0000001.transcript", "epoch-x-000001.transcript", "epoch-1.transcript", "epoch-.transcript"]
)
def test_a_second_file_of_an_epoch_under_another_name_is_found_and_not_judged(kept, name):
    folder, _ = kept
    (folder / name).write_bytes((folder / "epoch-000001.transcript").read_bytes())
    assert found_in(kept) == ["stray-transcript"]
    assert [audit.epoch for audit in audit_folder(*kept).epochs] == [0, 1]
    assert name not in {checkpoint.name for checkpoint in checkpoint_files(folder)}


def set_up_epoch(folder, charter, epoch, first_round):
    """Another epoch in a file of its own, set up and not begun."""
    stage = Consortium.make(folder / f"epoch-{epoch}", MEMBERS)
    session = Session(charter, epoch, Purpose.TRAINING, first_round, 3)
    write = TranscriptWriter(folder / "kept", epoch)
    stage.server = MaskingServer(session, journal=write)
    stage.set_up()
    return stage


def test_a_round_that_is_in_two_epochs_is_found_and_one_that_failed_before_its_first_round_is_not(kept, tmp_path):
    _, charter = kept
    set_up_epoch(tmp_path, charter, 2, 3)
    assert found_in(kept) == []
    set_up_epoch(tmp_path, charter, 3, 3).server.begin(3)
    assert found_in(kept) == ["duplicate-round"]


def test_a_damaged_file_is_a_finding_and_the_others_are_judged(kept):
    folder, _ = kept
    path = folder / "epoch-000000.transcript"
    path.write_bytes(path.read_bytes()[:-1])
    assert found_in(kept) == ["transcript-damaged"]
    assert len(audit_folder(*kept).epochs[1].rounds) == 3


def test_what_comes_before_the_damage_in_a_file_is_judged(kept):
    folder, _ = kept
    path = folder / "epoch-000001.transcript"
    path.write_bytes(path.read_bytes()[:-1])
    assert found_in(kept) == ["transcript-damaged"]
    _, epoch = audit_folder(*kept).epochs
    assert (epoch.epoch, epoch.unfinished, epoch.damaged) == (1, False, True)
    assert [record.round for record in epoch.rounds][:2] == [1, 2]
    assert epoch.received
    path.write_bytes(bytes(7) + path.read_bytes())
    assert "transcript-damaged" in found_in(kept)
    assert "out-of-order" not in found_in(kept)


def test_an_empty_file_is_none(kept):
    folder, _ = kept
    (folder / "epoch-000002.transcript").touch()
    assert found_in(kept) == []
    assert [checkpoint.name for checkpoint in checkpoint_files(folder)] == [
        "epoch-000000.transcript",
        "epoch-000001.transcript",
    ]


def test_what_a_killed_process_could_not_finish_is_cut_off_in_whatever_epoch(kept):
    folder, _ = kept
    path = folder / "epoch-000001.transcript"
    whole = path.read_bytes()
    for torn in (b"\0", (1000).to_bytes(8, "big"), (1000).to_bytes(8, "big") + bytes(999)):
        path.write_bytes(whole + torn)
        assert found_in(kept) == ["transcript-damaged"]
        cut_to_whole_events(folder)
        assert path.read_bytes() == whole
        assert found_in(kept) == []


def test_an_event_for_which_there_is_no_room_leaves_the_file_as_it_was(written):
    whole = written.read_bytes()
    write = TranscriptWriter(written.parent, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk does: so much of it is written, and then no more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 5, before[1]))
    try:
        with pytest.raises(InputError) as caught:
            write(Around(1, bytes(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.reason == "unwritable"
    assert written.read_bytes() == whole


def test_a_transcript_that_ends_in_the_middle_is_said_to(recorded):
    consortium, events, _ = recorded
    unfinished = [audit_epoch(events[:end], consortium.charter).unfinished for end in range(1, len(events) + 1)]
    assert unfinished[-1] is False
    at = index_of(events, Sent, Stage.SUM)
    assert unfinished[at - 1] is True
    assert unfinished[at] is False
    assert sum(unfinished) > len(events) / 2


def test_what_a_killed_process_could_not_finish_is_cut_off_before_anything_is_appended(written, recorded):
    whole = written.read_bytes()
    written.write_bytes(whole[:-3])
    TranscriptWriter(written.parent, 1)(TimedOut())
    assert list(read_events(written, ANY_SIZE)) == [*recorded[1][:-1], TimedOut()]


def test_an_event_larger_than_any_message_and_what_is_no_file_are_not_read(written, tmp_path):
    with pytest.raises(TamperingError):
        list(read_events(written, 10))
    os.mkfifo(written.with_name("epoch-000007.transcript"))
    assert transcript_files(written.parent) == (written,)


def test_the_transcript_of_another_charter_is_said_to_be_so(recorded, tmp_path):
    other = sign_by_all(make_charter(make_identities(MEMBERS), name="other"), make_identities(MEMBERS))
    with pytest.raises(InputError) as caught:
        audit_epoch(recorded[1], other)
    assert caught.value.reason == "other-charter"
