"""At the end of a run the hospitals sign for one another's logs; who lies about its own is left out."""

from __future__ import annotations

import hashlib
import os
import shutil
from errno import ENOSPC

import msgspec
import pytest
from msgspec.structs import replace

from dp.ledger.entries import LEDGER
from secagg.egress import read_egress
from secagg.files import unwritable, write_atomically
from secagg.identity import Identity
from secagg.log_excerpt import checkpoint_of
from secagg.release.checkpoints import (
    CHECKPOINTS_FILE,
    checkpoints_statement,
    read_checkpoints,
    sign_checkpoint,
    verify_sites,
)
from secagg.release.dsse import assemble, attest, read_envelope
from secagg.signed_log import read_log
from secagg.transcript import files
from secagg.wire import Sealer, Stage, open_envelope
from secagg.wire.envelope import peek
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.replies import refusal
from training import checkpointing
from training.checkpointing import Checkpointing
from training.draft import task_of
from training.engines.base import Exchange, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import Checkpoint, Cosign, Cosigned, Witness
from training.simulation_folder import read_settings
from training.sites import read_sites

ANY_SIZE = 1 << 24


class Altering(EmbeddedEngine):
    """Has hospital 2 send another payload of one kind."""

    def __init__(self, ward, stage, payload):
        super().__init__(ward.hospitals)
        self._ward, self._stage, self._payload = ward, stage, payload

    def exchange(self, phase, outbox, round_number):
        exchange = super().exchange(phase, outbox, round_number)
        inbox = [(number, self._altered(number, message)) for number, message in exchange.inbox]
        return Exchange(tuple(inbox), exchange.dropped)

    def _altered(self, number, message):
        if (number, peek(message).stage) != (2, self._stage):
            return message
        return Sealer(self._ward.charter, 2, self._ward.hospitals[2]._identity, 2).seal(self._stage, self._payload)


def checkpoints(ward, number=1):
    return read_checkpoints(ward.hospitals[number].release_folder, ward.charter)


def test_all_have_the_same_checkpoints_of_the_logs_that_all_have_signed(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.coordinator().run()
    files = {(hospital.release_folder / CHECKPOINTS_FILE).read_bytes() for hospital in ward.hospitals.values()}
    assert len(files) == 1
    found = checkpoints(ward)
    assert list(found.by_name) == list(found.cosigned_by) == ["h1", "h2", "h3", "h4"]
    ward.close()
    for name, site in found.by_name.items():
        home = ward.homes[name]
        key = Identity.load(home.identity).public_key
        ledger, egress = read_log(home.ledger, key, LEDGER), read_egress(home.egress, key)
        assert site.ledger == checkpoint_of(ledger)
        assert site.egress == checkpoint_of(egress[: site.egress.entries])
        # What comes after it is what told it, and what co-signed.
        assert [entry.stage for entry in egress[site.egress.entries :]] == ["CHECKPOINT", "COSIGN"]


@pytest.mark.parametrize(
    "payload", [Checkpoint(1, "0" * 64, 1, "0" * 64, bytes(64)), Checkpoint(1, "0" * 64, 1, "0" * 64, b"")]
)
def test_a_checkpoint_that_is_not_its_hospitals_own_is_left_out(open_ward, payload):
    ward = open_ward()
    ward.coordinator(engine=Altering(ward, Stage.CHECKPOINT, payload)).run()
    assert list(checkpoints(ward).by_name) == ["h1", "h3", "h4"]


def test_a_signature_that_is_none_is_left_out(open_ward):
    ward = open_ward()
    ward.coordinator(engine=Altering(ward, Stage.COSIGN, Cosign(bytes(64)))).run()
    assert checkpoints(ward).cosigned_by == ("h1", "h3", "h4")


@pytest.mark.parametrize("phase", [Phase.RELEASE, Phase.WITNESS])
def test_a_coordinator_that_was_stopped_before_all_had_signed_has_them_sign_when_it_is_back(open_ward, phase):
    ward = open_ward()
    ward.stop_before(phase, 0)
    assert not (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).exists()
    ward.coordinator().run()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


def test_who_comes_for_the_release_later_does_not_replace_what_all_have_signed(open_ward):
    ward = open_ward(hospitals=5)
    ward.coordinator(engine=EmbeddedEngine({number: ward.hospitals[number] for number in (1, 2, 3, 4)})).run()
    before = checkpoints(ward)
    assert before.cosigned_by == ("h1", "h2", "h3", "h4")
    ward.coordinator().run()
    assert ward.hospitals[5].is_released
    assert checkpoints(ward) == before


def test_who_cannot_be_reached_for_them_has_the_release_all_the_same(open_ward):
    ward = open_ward()
    ward.coordinator(DropOut(3, 0, Phase.WITNESS)).run()
    assert (ward.hospitals[3].release_folder / "model.safetensors").exists()
    assert not (ward.hospitals[3].release_folder / CHECKPOINTS_FILE).exists()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h4")


class StopsHalfWay(EmbeddedEngine):
    """Gives what all have signed to the first so many hospitals, and is stopped."""

    def __init__(self, ward, first):
        super().__init__(ward.hospitals)
        self._first = first

    def exchange(self, phase, outbox, round_number):
        if outbox and peek(outbox[0][1]).stage is Stage.COSIGNED:
            super().exchange(phase, outbox[: self._first], round_number)
            raise KeyboardInterrupt
        return super().exchange(phase, outbox, round_number)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_coordinator_that_was_stopped_while_it_gave_out_what_all_signed_gives_out_the_same(open_ward, first):
    ward = open_ward()
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StopsHalfWay(ward, first)).run()
    shown = (ward.folder / "coordinator/checkpoints.json").read_bytes()
    coordinator = ward.coordinator()
    coordinator.run()
    assert coordinator._store.state.witnessed
    files = [(hospital.release_folder / CHECKPOINTS_FILE).read_bytes() for hospital in ward.hospitals.values()]
    assert len(set(files)) == 1
    assert read_envelope(files[0]).payload == shown
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


class LosingSignatures(EmbeddedEngine):
    """Does not reach these hospitals with what all have signed."""

    def __init__(self, ward, *members):
        super().__init__(ward.hospitals)
        self._members = frozenset(members)

    def exchange(self, phase, outbox, round_number):
        if not outbox or peek(outbox[0][1]).stage is not Stage.COSIGNED:
            return super().exchange(phase, outbox, round_number)
        exchange = super().exchange(phase, [item for item in outbox if item[0] not in self._members], round_number)
        return Exchange(exchange.inbox, exchange.dropped | self._members)


@pytest.mark.parametrize("lost", [(1, 2, 3, 4), (1, 2)], ids=["all", "all but two"])
def test_what_too_few_were_given_of_what_all_signed_is_not_said_to_be_signed_and_is_given_out_again(open_ward, lost):
    ward = open_ward()
    coordinator = ward.coordinator(engine=LosingSignatures(ward, *lost))
    coordinator.run()
    assert not coordinator._store.state.witnessed
    again = ward.coordinator()
    again.run()
    assert again._store.state.witnessed
    assert {checkpoints(ward, number).cosigned_by for number in ward.hospitals} == {("h1", "h2", "h3", "h4")}


def test_what_too_few_could_keep_of_what_all_signed_is_not_said_to_be_signed_and_is_given_out_again(
    open_ward, monkeypatch
):
    ward = open_ward()
    full = {ward.hospitals[number].release_folder for number in (1, 2, 3)}

    def write_unless_full(path, *content):
        if path.name == CHECKPOINTS_FILE and path.parent in full:
            raise unwritable(path, OSError(ENOSPC, os.strerror(ENOSPC)))
        write_atomically(path, *content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpointing, "write_atomically", write_unless_full)
        coordinator = ward.coordinator()
        coordinator.run()
    assert not coordinator._store.state.witnessed
    again = ward.coordinator()
    again.run()
    assert again._store.state.witnessed
    assert {checkpoints(ward, number).cosigned_by for number in ward.hospitals} == {("h1", "h2", "h3", "h4")}


def test_one_that_is_not_given_what_all_signed_does_not_have_it_given_out_again(open_ward):
    ward = open_ward()
    coordinator = ward.coordinator(engine=LosingSignatures(ward, 4))
    coordinator.run()
    assert coordinator._store.state.witnessed


class Pretending(Altering):
    """Has whoever brings the answers of hospital 2 sign that with another key."""

    def _altered(self, number, message):
        if (number, peek(message).stage) != (2, self._stage):
            return message
        return Sealer(self._ward.charter, 2, self._ward.hospitals[3]._identity, 2).seal(self._stage, self._payload)


def test_one_that_did_not_sign_for_having_the_release_is_taken_to_lack_it(open_ward):
    ward = open_ward()
    nothing = Checkpoint(0, "0" * 64, 0, "0" * 64, bytes(64))
    coordinator = ward.coordinator(engine=Pretending(ward, Stage.CHECKPOINT, nothing))
    coordinator.run()
    assert coordinator.lacking == ("h2",)
    again = ward.coordinator()
    again.run()
    assert again.lacking == ()


@pytest.mark.parametrize("first", [0, 2])
def test_one_whose_folder_was_lost_in_between_ends_its_run_without_a_second_list(open_ward, first):
    ward = open_ward()
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StopsHalfWay(ward, first)).run()
    kept = [checkpoints(ward, number) for number in range(1, first + 1)]
    shutil.rmtree(ward.folder / "coordinator")
    coordinator = ward.coordinator()
    coordinator.run()
    assert coordinator.lacking == ()
    assert not coordinator._store.state.witnessed
    assert all(hospital.is_released for hospital in ward.hospitals.values())
    assert [checkpoints(ward, number) for number in range(1, first + 1)] == kept
    without = (ward.hospitals[number].release_folder / CHECKPOINTS_FILE for number in range(first + 1, 5))
    assert not any(path.exists() for path in without)
    assert {reason for _, reason in ward.refused} == {"already-witnessed"}


def test_where_too_few_could_be_reached_for_a_list_there_is_one_once_more_are_back(open_ward):
    """Of four, two have kept the release: a list of theirs would bind them, and be good for nothing."""
    ward = open_ward()
    ward.coordinator(DropOut(3, 0, Phase.RELEASE), DropOut(4, 0, Phase.RELEASE)).run()
    assert not (ward.folder / "coordinator/checkpoints.json").exists()
    ward.coordinator().run()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


def test_where_too_few_have_signed_they_are_asked_for_the_same_list_again(open_ward):
    ward = open_ward()
    ward.coordinator(DropOut(3, 0, Phase.WITNESS), DropOut(4, 0, Phase.WITNESS)).run()
    assert not (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).exists()
    ward.coordinator().run()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


def test_a_list_that_is_longer_than_anybody_reads_is_shown_to_nobody_and_the_run_ends(open_ward, monkeypatch):
    monkeypatch.setattr("training.checkpoint_relay.LARGEST_STATEMENT", 100)
    ward = open_ward()
    release = ward.coordinator().run()
    assert ward.coordinator().run() == release
    assert not (ward.folder / "coordinator/checkpoints.json").exists()


def test_the_transcript_is_read_before_the_release_leaves_and_only_what_grew_since_after_it(open_ward, monkeypatch):
    """A large one takes longer to read than hospitals stay that have the release."""
    ward, events, read = open_ward(), [], files._sha256

    class Noting(EmbeddedEngine):
        def exchange(self, phase, outbox, round_number):
            if phase is Phase.RELEASE:
                events.append("release")
            return super().exchange(phase, outbox, round_number)

    def noting(path, size):
        events.append(path.name)
        return read(path, size)

    monkeypatch.setattr(files, "_sha256", noting)
    ward.coordinator(engine=Noting(ward.hospitals)).run()
    transcript = [one.name for one in checkpoints(ward).transcript]
    assert len(transcript) > 2
    assert events == [*transcript, "release", "epoch-000000.transcript"]
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


@pytest.fixture
def before_it_is_given_out(open_ward):
    """All have signed a list, and none has been given it with the others' signatures."""
    ward = open_ward()
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StopsHalfWay(ward, 0)).run()
    return ward


def listed_anew(ward):
    """What all have signed, and the same with less of the logs of hospital 2, which colludes."""
    first = (ward.folder / "coordinator/checkpoints.json").read_bytes()
    said = verify_sites(first, ward.charter, "the list")
    nothing = checkpoint_of(())
    own = sign_checkpoint(ward.charter, "h2", nothing, nothing, ward.hospitals[2]._identity)
    sites = [own if site.name == "h2" else site for site in said.sites]
    return first, checkpoints_statement(ward.charter, sites, said.transcript)


def test_a_hospital_signs_one_list_before_any_is_given_out_also_after_a_restart(before_it_is_given_out):
    ward = before_it_is_given_out
    first, anew = listed_anew(ward)
    for _ in range(2):
        assert refusal(ward, witness(ward, anew)) == "already-witnessed"
        (reply,) = witness(ward, first)
        assert open_envelope(reply, ward.charter, ANY_SIZE).header.stage is Stage.COSIGN
        ward.hospitals[1].close()
        table = read_sites(read_settings(ward.folder).source, task_of(ward.charter.charter))
        ward.hospitals[1] = ward.open_hospital(1, "h1", next(iter(table)).records)


def test_and_keeps_no_other_than_it_has_signed(before_it_is_given_out):
    ward = before_it_is_given_out
    _, anew = listed_anew(ward)
    signed = assemble(anew, [attest(anew, hospital._identity) for hospital in ward.hospitals.values()])
    replies = ward.hospitals[1].receive(ward.forge(Stage.COSIGNED, Cosigned(signed.to_json())))
    assert refusal(ward, replies) == "already-witnessed"
    assert not (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).exists()


def test_one_that_was_asked_for_no_signature_signs_no_other_than_it_has_kept(before_it_is_given_out):
    ward = before_it_is_given_out
    first, anew = listed_anew(ward)
    ward.home(1).witnessed(ward.charter.digest).unlink()
    signed = assemble(first, [attest(first, hospital._identity) for hospital in ward.hospitals.values()])
    assert ward.hospitals[1].receive(ward.forge(Stage.COSIGNED, Cosigned(signed.to_json()))) == []
    assert refusal(ward, witness(ward, anew)) == "already-witnessed"
    # Nor one whose release is from before there was such a file.
    ward.home(1).witnessed(ward.charter.digest).unlink()
    assert refusal(ward, witness(ward, anew)) == "already-witnessed"


def test_control_a_hospital_that_does_not_remember_signs_both_and_keeps_the_second(before_it_is_given_out, monkeypatch):
    ward = before_it_is_given_out
    monkeypatch.setattr(Checkpointing, "_require_same", lambda *arguments: None)
    path = ward.hospitals[1].release_folder / CHECKPOINTS_FILE
    for statement in listed_anew(ward):
        (reply,) = witness(ward, statement)
        assert open_envelope(reply, ward.charter, ANY_SIZE).header.stage is Stage.COSIGN
        signed = assemble(statement, [attest(statement, hospital._identity) for hospital in ward.hospitals.values()])
        assert ward.hospitals[1].receive(ward.forge(Stage.COSIGNED, Cosigned(signed.to_json()))) == []
        assert read_envelope(path.read_bytes()).payload == statement


@pytest.fixture
def finished(open_ward):
    ward = open_ward()
    ward.coordinator().run()
    return ward


def witness(ward, statement):
    return ward.hospitals[1].receive(ward.forge(Stage.WITNESS, Witness(statement)))


def test_a_hospital_signs_for_no_checkpoint_that_is_not_its_hospitals_own(finished):
    signed = (finished.hospitals[1].release_folder / CHECKPOINTS_FILE).read_bytes()
    payload = msgspec.json.decode(signed, type=dict[str, object])["payload"]
    statement = msgspec.convert(payload, bytes, strict=False)
    (reply,) = witness(finished, statement)
    assert open_envelope(reply, finished.charter, ANY_SIZE).header.stage is Stage.COSIGN
    forged = statement.replace(b'"entries":', b'"entries":1', 1)
    assert refusal(finished, witness(finished, forged)) == "bad-checkpoints"


SIGNED_FOR_NOTHING = {
    "no file": lambda files: (),
    "no byte of a file": lambda files: (
        *files[:-1],
        replace(files[-1], bytes=0, sha256=hashlib.sha256(b"").hexdigest()),
    ),
    "a file twice": lambda files: (*files, files[-1]),
}


@pytest.mark.parametrize("listed", SIGNED_FOR_NOTHING.values(), ids=SIGNED_FOR_NOTHING)
def test_a_list_that_covers_nothing_of_the_transcript_is_not_signed_or_kept(open_ward, listed):
    """The attack: the coordinator can write anew, once all have signed, what no sum follows from."""
    ward = open_ward()
    ward.stop_before(Phase.WITNESS, 0)
    said = verify_sites((ward.folder / "coordinator/checkpoints.json").read_bytes(), ward.charter, "the list")
    statement = checkpoints_statement(ward.charter, said.sites, listed(said.transcript))
    signed = assemble(statement, [attest(statement, hospital._identity) for hospital in ward.hospitals.values()])
    for stage, payload in ((Stage.WITNESS, Witness(statement)), (Stage.COSIGNED, Cosigned(signed.to_json()))):
        assert refusal(ward, ward.hospitals[1].receive(ward.forge(stage, payload))) == "bad-checkpoints"
    # Control: of the same sites, the list of the whole transcript.
    statement = checkpoints_statement(ward.charter, said.sites, said.transcript)
    (reply,) = witness(ward, statement)
    assert open_envelope(reply, ward.charter, ANY_SIZE).header.stage is Stage.COSIGN


def test_forged_signatures_do_not_replace_what_a_hospital_has(finished):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    signed = path.read_bytes()
    forged = signed.replace(b'"sig": "', b'"sig": "AAAA', 1)
    replies = finished.hospitals[1].receive(finished.forge(Stage.COSIGNED, Cosigned(forged)))
    assert refusal(finished, replies) == "bad-checkpoints"
    assert path.read_bytes() == signed


def test_a_list_without_enough_signatures_or_without_its_own_entry_does_not_replace_it_or_come_in_its_place(finished):
    hospital = finished.hospitals[1]
    path = hospital.release_folder / CHECKPOINTS_FILE
    whole = path.read_bytes()
    signed, said = read_envelope(whole), checkpoints(finished)
    few = assemble(signed.payload, signed.signatures[:2])
    others = [site for name, site in said.by_name.items() if name != "h1"]
    lacking = checkpoints_statement(finished.charter, others, said.transcript)
    assert refusal(finished, witness(finished, lacking)) == "bad-checkpoints"
    lacking = assemble(lacking, [attest(lacking, other._identity) for other in finished.hospitals.values()])
    for reason, message in (("too-few-signatures", few), ("bad-checkpoints", lacking)):
        replies = [hospital.receive(finished.forge(Stage.COSIGNED, Cosigned(message.to_json())))]
        assert path.read_bytes() == whole
        path.unlink()
        replies.append(hospital.receive(finished.forge(Stage.COSIGNED, Cosigned(message.to_json()))))
        assert [refusal(finished, reply) for reply in replies] == [reason, reason]
        assert not path.exists()
        path.write_bytes(whole)


def test_the_same_list_with_fewer_of_its_signatures_does_not_replace_it(finished):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    signed = read_envelope(path.read_bytes())
    fewer = assemble(signed.payload, signed.signatures[:3]).to_json()
    assert finished.hospitals[1].receive(finished.forge(Stage.COSIGNED, Cosigned(fewer))) == []
    assert read_envelope(path.read_bytes()) == signed


def test_nothing_is_signed_before_the_hospital_has_attested_to_its_model(open_ward):
    ward = open_ward()
    for stage, payload in ((Stage.WITNESS, Witness(b"")), (Stage.COSIGNED, Cosigned(b""))):
        assert refusal(ward, ward.hospitals[1].receive(ward.forge(stage, payload))) == "not-concluded"
