"""A transcript gives every sum again, to anybody, and shows what was altered, left out or put in."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.charter import NeighbourGraph, VerifiedCharter
from secagg.errors import InputError, RemoteProtocolError, TamperingError
from secagg.graph import smallest_graph
from secagg.masking import MaskingServer, Purpose, Session, kdf
from secagg.masking.asked import Asked
from secagg.masking.journal import Around, Begun, Event, Opened, Received, Sent, TimedOut, sent
from secagg.masking.messages import Advertise, Begin, EncryptedSum, ResponderReveal, Sum
from secagg.transcript import AROUND, TranscriptWriter, audit_epoch, audit_folder, cut_to_whole_events, transcript_files
from secagg.transcript import audit as audit_module
from secagg.transcript.files import checkpoint_files, require_grown_from
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from tests.support.consortium import Consortium, make_charter, make_identities, sign_by_all
from tests.support.seal_releases import another_seal, serialized_parameters
from tests.support.transcripts import ANY_SIZE, MEMBERS, index_of


def payload_of(event: Sent, charter) -> Sum:
    return msgspec.msgpack.decode(open_envelope(event.message, charter, ANY_SIZE).payload, type=Sum)


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


def encrypted_round(folder, scheme) -> tuple[VerifiedCharter, list[Event]]:
    consortium, events = Consortium.make(folder, MEMBERS, scheme=scheme), []
    consortium.server = MaskingServer(consortium.server.session, journal=events.append)
    consortium.set_up()
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    return consortium.charter, events


@pytest.mark.parametrize("scheme", ["bfv", "ckks", "double-lock"])
def test_an_honest_transcript_is_judged_so_with_another_release_of_seal_too(tmp_path, scheme):
    charter, events = encrypted_round(tmp_path, scheme)
    with another_seal():
        audit = audit_epoch(events, charter)
    assert (audit.findings, len(audit.rounds), audit.refused) == ([], 1, 0)


def test_control_if_contexts_were_as_seal_serializes_them_it_would_be_said_not_to_fit(tmp_path, monkeypatch):
    for place in ("masking.group", "homomorphic.context"):
        monkeypatch.setattr(f"secagg.{place}.public_context", serialized_parameters)
    charter, events = encrypted_round(tmp_path, "bfv")
    assert reasons(events, charter) == []
    with another_seal():
        assert reasons(events, charter) == ["refused-acknowledgement"]


def test_of_an_acknowledgement_that_only_another_release_takes_it_is_said_that_that_one_can_tell(tmp_path, monkeypatch):
    with monkeypatch.context() as earlier_release:
        for place in ("masking.group", "homomorphic.context"):
            earlier_release.setattr(f"secagg.{place}.public_context", serialized_parameters)
        charter, events = encrypted_round(tmp_path, "bfv")
    (finding,) = audit_epoch(events, charter).findings
    assert (finding.reason, finding.epoch) == ("refused-acknowledgement", 1)
    assert "other-context: h1 encrypts under other parameters than the charter's" in finding.message
    assert "the release that made the run can tell" in finding.message


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


def in_a_sparse_graph(folder):
    """A round in which one has dropped out: the consortium, what happened, and one that masked with who dropped out."""
    graph = NeighbourGraph.of(smallest_graph(40, 1, 4))
    consortium, happened = Consortium.make(folder, 40, graph=graph, epoch_rounds=1), []
    consortium.server = MaskingServer(consortium.server.session, journal=happened.append)
    consortium.set_up()
    dealt, gone = consortium.server._set_up.dealt, 25
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)), mask_silent={gone})
    return consortium, happened, min({*dealt.holders[gone], *dealt.held_by[gone]} - {1})


def with_other_keys(consortium, happened, helper) -> tuple[MaskingServer, list[Event], set[str]]:
    """The round once more, had the helper advertised other keys; the events of its transcript, and what is refused."""
    written, reasons = [], set()
    server = MaskingServer(consortium.server.session, journal=written.append)
    sealer = Sealer(consortium.charter, helper, consortium.identities[helper - 1], 1)
    for event in happened:
        match event:
            case Opened():
                server.open()
            case Begun():
                server.begin(event.step, event.asked)
            case TimedOut():
                server.timeout()
            case Received():
                message = event.message
                if event.member == helper and peek(message).stage is Stage.ADVERTISE:
                    own = decode(open_envelope(message, consortium.charter, ANY_SIZE).payload, Advertise)
                    other = msgspec.structs.replace(own, mask_keys=kdf.public_key(bytes([7] * 32)))
                    message = sealer.seal(Stage.ADVERTISE, other)
                try:
                    server.receive(event.member, message)
                except RemoteProtocolError as error:
                    reasons.add(error.reason)
    return server, written, reasons


def test_in_a_sparse_graph_keys_cannot_be_exchanged_afterwards_either(tmp_path):
    """Nothing else that honest hospitals sign there says what those have advertised who are no peers of theirs."""
    server, _, reasons = with_other_keys(*in_a_sparse_graph(tmp_path))
    assert (server.result, reasons) == (None, {"inputs-changed"})


def test_control_where_answers_say_only_who_is_in_the_sum_other_keys_make_another_one(tmp_path, monkeypatch):
    consortium, happened, helper = in_a_sparse_graph(tmp_path)
    monkeypatch.setattr(Asked, "check", lambda *_: None)
    server, written, reasons = with_other_keys(consortium, happened, helper)
    audit = audit_epoch(written, consortium.charter)
    assert (reasons, audit.findings, audit.refused) == (set(), [], 0)
    assert not np.array_equal(server.result.vector, consortium.server.result.vector)


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


def test_a_damaged_epoch_that_is_said_to_be_endless_has_room_for_no_more_rounds_than_the_charter_allows(kept, recorded):
    folder, charter = kept
    opened = msgspec.structs.replace(recorded[1][0], epoch=2, first_round=4, rounds=2**31)
    TranscriptWriter(folder, 2)(opened)
    path = folder / "epoch-000002.transcript"
    path.write_bytes(path.read_bytes() + b"no event")
    TranscriptWriter(folder, 3)(msgspec.structs.replace(opened, epoch=3, first_round=500))
    assert found_in(kept) == ["transcript-damaged", "missing-round"]
    misfit = audit_folder(folder, charter).misfits[-1]
    assert misfit.message.startswith(f"Rounds {4 + charter.charter.epoch_rounds} to 499 are in no epoch")


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


def linked(path):
    """The same bytes, elsewhere."""
    elsewhere = path.with_name("kept elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def in_place_of(path, make):
    path.unlink()
    make(path)


NO_FILES = {
    "a link": linked,
    "a link to nothing": lambda path: in_place_of(path, lambda path: path.symlink_to("nowhere")),
    "a pipe": lambda path: in_place_of(path, os.mkfifo),
    "a folder": lambda path: in_place_of(path, Path.mkdir),
}


@pytest.mark.parametrize("change", NO_FILES.values(), ids=NO_FILES)
def test_what_has_an_epochs_name_and_is_no_file_is_found_and_is_not_what_hospitals_signed_for(kept, change):
    """A link that is read by one check and passed over by another is in no audit, and passes for signed."""
    folder, _ = kept
    (noted,) = [one for one in checkpoint_files(folder) if one.name == "epoch-000001.transcript"]
    require_grown_from(noted, folder)
    change(folder / noted.name)
    assert "stray-transcript" in found_in(kept)
    with pytest.raises(TamperingError) as caught:
        require_grown_from(noted, folder)
    assert caught.value.reason == "transcript-altered"


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
    assert epoch.messages
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


def test_a_transcript_that_ends_in_the_middle_is_said_to(recorded):
    consortium, events, _ = recorded
    unfinished = [audit_epoch(events[:end], consortium.charter).unfinished for end in range(1, len(events) + 1)]
    assert unfinished[-1] is False
    at = index_of(events, Sent, Stage.SUM)
    assert unfinished[at - 1] is True
    assert unfinished[at] is False
    assert sum(unfinished) > len(events) / 2


def another_charter() -> VerifiedCharter:
    return sign_by_all(make_charter(make_identities(MEMBERS), name="other"), make_identities(MEMBERS))


def test_the_transcript_of_another_charter_is_said_to_be_so(kept):
    folder, _ = kept
    with pytest.raises(InputError) as caught:
        audit_folder(folder, another_charter())
    assert caught.value.reason == "other-charter"


def test_and_where_its_coordinator_was_killed_as_it_opened_an_epoch_too(kept, recorded):
    folder, _ = kept
    opened = msgspec.structs.replace(recorded[1][0], epoch=2, first_round=4)
    TranscriptWriter(folder, 2)(opened)
    with pytest.raises(InputError, match="that of another charter"):
        audit_folder(folder, another_charter())


def test_a_message_of_another_charter_in_a_transcript_is_found_and_keeps_nobody_from_the_rest(kept, recorded):
    """In the middle of an epoch, or at the beginning of one that follows."""
    folder, charter = kept
    _, events, _ = recorded
    at = index_of(events, Sent, Stage.BEGIN, 2)
    foreign = Sealer(another_charter(), COORDINATOR, None, 1).seal(Stage.BEGIN, Begin(3), round=3)
    (folder / "epoch-000001.transcript").unlink()
    for event in (*events[:at], Sent(events[at].members, foreign)):
        TranscriptWriter(folder, 1)(event)
    for event in (msgspec.structs.replace(events[0], epoch=2, first_round=4), Sent(events[1].members, foreign)):
        TranscriptWriter(folder, 2)(event)
    assert found_in(kept) == ["other-charter", "other-charter"]
    assert [len(audit.rounds) for audit in audit_folder(folder, charter).epochs] == [0, 2, 0]
