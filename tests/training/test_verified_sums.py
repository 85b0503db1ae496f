"""Sums that a hospital checks, sums that others endorse, and what a forged one leads to."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from secagg.charter.folder import read_verified
from secagg.egress import read_egress
from secagg.encoding import pack, unpack
from secagg.errors import InputError, ProtocolError, RefusedError, TamperingError
from secagg.identity import Identity
from secagg.masking import Purpose, Session, verification
from secagg.masking import client as masking_client
from secagg.masking.messages import Open, Sum
from secagg.masking.verification import ForgedSumError, VerifiedSum
from secagg.policy import load_policy, render_policy
from secagg.transcript import HospitalRecord, audit_folder, compare
from secagg.wire import COORDINATOR, Sealer, Stage
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import (
    SCALED_BY_SUMS,
    StoppedHereError,
    Ward,
    choices_of,
    prepared,
    tabular_spec,
    training_of,
)
from tests.support.liars import LyingAboutItself
from tests.support.replies import kept_sums, read, refusal, stages, status, sum_with_a_traitor, word_of
from training import applying, catching_up, simulated_consortium, simulation
from training import hospital as hospital_module
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import Query, Release, Status


def with_one_more(ward, message):
    """What a message with the sum of round 1 carries, one element of it one larger."""
    session = Session(ward.charter, 1, Purpose.TRAINING, 1, 1)
    true = decode(read(ward, message).payload, Sum)
    elements = unpack(true.vector, session.length, session.ring)
    elements[3] += 1
    return msgspec.structs.replace(true, vector=memoryview(pack(elements, session.ring)))


@pytest.fixture
def behind(open_ward):
    """Five hospitals with two sums, of which the second has lost its state file: it has none, and no tag keys."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=3)))
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    ward.state_file(2).unlink()
    ward = open_ward()
    assert ward.sums == [2, 0, 2, 2, 2]
    return ward


def test_sums_that_a_hospital_cannot_check_wait_until_others_endorse_them(behind):
    first, second = kept_sums(behind, 1, 2)
    assert refusal(behind, behind.hospitals[2].receive(second)) == "missed-sum"
    for message in (first, second):
        assert stages(behind.hospitals[2].receive(message)) == [Stage.STATUS]
        assert behind.sums == [2, 0, 2, 2, 2]
    assert refusal(behind, behind.hospitals[2].receive(first)) == "missed-sum"
    assert stages(behind.hospitals[2].receive(word_of(behind, 1, 3))) == [Stage.STATUS]
    assert behind.sums == [2, 2, 2, 2, 2]
    assert len(behind.models) == 1


def test_a_run_brings_a_hospital_that_lost_everything_up_to_date(behind):
    behind.coordinator().run()
    assert behind.sums == [3, 3, 3, 3, 3]
    assert len(behind.models) == 1


@pytest.mark.parametrize("endorsers", [(), (1,), (1, 1), (1, 2)], ids=str)
def test_the_word_of_no_more_than_may_collude_or_ones_own_endorses_nothing(behind, endorsers):
    hospital = behind.hospitals[2]
    for message in kept_sums(behind, 1, 2):
        hospital.receive(message)
    shown = word_of(behind, *(number for number in endorsers if number != 2))
    assert refusal(behind, hospital.receive(shown)) == "not-endorsed"
    assert behind.sums == [2, 0, 2, 2, 2]
    assert refusal(behind, hospital.receive(word_of(behind, 1, 3))) == "nothing-to-endorse"


def test_missed_sums_that_were_altered_are_endorsed_by_nobody(behind):
    """The attack: a coordinator gives a hospital that lost its keys a model of its own making."""
    first, second = kept_sums(behind, 1, 2)
    hospital = behind.hospitals[2]
    hospital.receive(behind.forge(Stage.MISSED_SUM, with_one_more(behind, first), epoch=1, round_number=1))
    assert refusal(behind, hospital.receive(second)) == "other-model"
    assert refusal(behind, hospital.receive(word_of(behind, 1, 3, 4, 5))) == "not-endorsed"
    assert behind.sums == [2, 0, 2, 2, 2]


def test_control_a_hospital_that_asks_for_no_endorsement_takes_the_altered_model(behind, monkeypatch):
    monkeypatch.setattr(catching_up, "require_endorsed", lambda *arguments: None)
    altered = with_one_more(behind, kept_sums(behind, 1)[0])
    behind.hospitals[2].receive(behind.forge(Stage.MISSED_SUM, altered, epoch=1, round_number=1))
    behind.hospitals[2].receive(word_of(behind, 1, 3, 4, 5))
    assert behind.sums == [2, 1, 2, 2, 2]
    assert len(behind.models) == 2


# Forged sums


def about_to_be_forged(ward, number):
    """The sum that hospital ``number`` is about to be sent, with one element one larger."""
    message = ward.stop_before(Phase.APPLY, 1)[number]
    return ward.forge(Stage.SUM, with_one_more(ward, message), epoch=1, round_number=1)


def test_a_forged_sum_stops_every_hospital_before_its_model_changes_and_is_kept_as_evidence(open_ward):
    ward = open_ward()
    forged = about_to_be_forged(ward, 1)
    before = ward.models
    for number, hospital in ward.hospitals.items():
        assert refusal(ward, hospital.receive(forged)) == "forged-sum"
        assert isinstance(hospital.stopped, ForgedSumError)
        assert ward.home(number).evidence(ward.charter.digest).read_bytes() == forged
    assert (ward.models, ward.sums) == (before, [0, 0, 0, 0])


def test_a_hospital_that_stopped_answers_nothing_any_more_and_does_not_start_again(open_ward):
    ward = open_ward()
    true = ward.stop_before(Phase.APPLY, 1)[1]
    session = Session(ward.charter, 1, Purpose.TRAINING, 1, 1)
    payload = msgspec.structs.replace(decode(read(ward, true).payload, Sum), tag=bytes(session.tag_size))
    ward.hospitals[1].receive(ward.forge(Stage.SUM, payload, epoch=1, round_number=1))
    later = ward.forge(Stage.OPEN, Open(Purpose.TRAINING, 9, 1), epoch=9)
    for message in (true, later, ward.forge(Stage.QUERY, Query())):
        assert refusal(ward, ward.hospitals[1].receive(message)) == "forged-sum"
    ward.close()
    with pytest.raises(TamperingError) as caught:
        open_ward()
    assert caught.value.reason == "forged-sum"
    assert "evidence" in caught.value.message


def test_control_a_hospital_that_does_not_check_applies_the_forged_sum(open_ward, monkeypatch):
    ward = open_ward()
    forged = about_to_be_forged(ward, 1)
    monkeypatch.setattr(masking_client, "verify_sum", unchecked)
    ward.hospitals[1].receive(forged)
    assert ward.sums == [1, 0, 0, 0]


def unchecked(total, session, epoch_tag_key):
    return VerifiedSum(total, _by_verifier=verification._VERIFIER)


def test_a_missed_sum_is_checked_by_its_tag_where_the_hospital_has_the_epochs_key(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=3)))
    ward.coordinator(engine=EmbeddedEngine(ward.hospitals, [DropOut(2, 1, Phase.APPLY)])).run()
    assert ward.sums == [3, 3, 3, 3]


def test_a_missed_sum_that_was_altered_stops_a_hospital_that_has_the_epochs_key(open_ward):
    ward = open_ward()
    forged = about_to_be_forged(ward, 1)
    payload = decode(read(ward, forged).payload, Sum)
    message = ward.forge(Stage.MISSED_SUM, payload, epoch=1, round_number=1)
    assert refusal(ward, ward.hospitals[1].receive(message)) == "forged-sum"
    assert ward.sums == [0, 0, 0, 0]


def test_a_simulation_in_which_a_sum_was_forged_ends_as_tampering(tmp_path, monkeypatch):
    folder = prepared(tmp_path, 4, choices_of(training_of(rounds=3)))

    class Forging(EmbeddedEngine):
        """A network, or a coordinator's machine, that changes the second sum on its way."""

        def exchange(self, phase, outbox, round_number):
            if (phase, round_number) == (Phase.APPLY, 2):
                outbox = [(member, changed(self, message)) for member, message in outbox]
            return super().exchange(phase, outbox, round_number)

    def changed(engine, message):
        frame = msgspec.msgpack.decode(message)
        payload = msgspec.msgpack.decode(frame[2], type=Sum)
        altered = msgspec.structs.replace(payload, tag=bytes(len(payload.tag)))
        charter = read_verified(folder / "charter")
        return Sealer(charter, COORDINATOR, None, peek(message).epoch).seal(Stage.SUM, altered, round=2)

    monkeypatch.setattr(simulation, "EmbeddedEngine", Forging)
    with pytest.raises(ForgedSumError) as caught:
        simulation.run(folder, simulation.Observer())
    assert caught.value.exit_code == 4
    with pytest.raises(ForgedSumError):
        simulation.run(folder, simulation.Observer())


def test_a_simulation_that_stops_for_a_hospital_that_cannot_write_tells_the_hospitals_own_reason(tmp_path, monkeypatch):
    folder, heard = prepared(tmp_path, 4, choices_of()), []

    class OnAFullDisk(hospital_module.Hospital):
        def receive(self, message):
            if self.name == "h2" and peek(message).stage is Stage.CONCLUDE:
                raise InputError("unwritable", "No space is left.")
            return super().receive(message)

    monkeypatch.setattr(simulated_consortium, "Hospital", OnAFullDisk)
    with pytest.raises(InputError) as caught:
        simulation.run(folder, simulation.Observer(on_refusal=lambda name, error: heard.append((name, error.reason))))
    assert caught.value.reason == "unwritable"
    assert heard == [("h2", "unwritable")]


def test_a_task_is_not_built_where_a_policy_does_not_allow_it(tmp_path, monkeypatch):
    """It may be code of somebody else's: the policy is asked first."""
    folder = prepared(tmp_path, 4, choices_of())
    policy = folder / "hospitals/h2/policy.toml"
    policy.write_bytes(render_policy(msgspec.structs.replace(load_policy(policy), allowed_tasks=frozenset())))
    monkeypatch.setattr(simulation, "task_of", lambda _charter: pytest.fail("the task was built"))
    with pytest.raises(RefusedError) as caught:
        simulation.run(folder, simulation.Observer())
    assert (caught.value.reason, caught.value.culprit) == ("task-not-allowed", "h2")


@dataclass
class Deceiving:
    """A coordinator that colludes with the second hospital, beside a transcript that is in order.

    It keeps the first sum to itself, and gives out an invented one as one that was missed, in the next round's number.
    """

    ward: Ward

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (Phase.APPLY, 1):
            invented = sum_with_a_traitor(self.ward, 1, Stage.MISSED_SUM, round_number=2)
            outbox = [(member, invented) for member, _ in outbox]
        return EmbeddedEngine(self.ward.hospitals).exchange(phase, outbox, round_number)


def misfits(ward, number):
    """What does not fit between the coordinator's transcript and a hospital's log."""
    home = ward.home(number)
    entries = read_egress(home.egress, Identity.load(home.identity).public_key)
    audit = audit_folder(ward.folder / "coordinator/transcript", ward.charter, heard={number})
    assert audit.findings == ()
    record = HospitalRecord.read(ward.charter.charter.member(number).name, ward.charter, entries)
    return [(finding.reason, finding.round) for finding in compare(audit.epochs, record)]


def test_a_sum_in_the_number_of_a_round_to_come_is_refused_by_whom_it_names(open_ward):
    """Its coordinator has the first sum, so that it gives it to them in the next epoch."""
    ward = open_ward()
    ward.coordinator(engine=Deceiving(ward)).run()
    assert {name for name, reason in ward.refused if reason == "never-masked"} == {"h1", "h2", "h3", "h4"}
    assert ward.sums == [3, 3, 3, 3]
    assert misfits(ward, 1) == []


@pytest.fixture
def not_asked_what_was_masked(monkeypatch):
    """As if an invented sum could name none of those who are to take it."""
    monkeypatch.setattr(catching_up.CatchingUp, "_require_masked", lambda *arguments: None)


def test_one_that_is_taken_all_the_same_has_the_true_one_refused_and_is_found(open_ward, not_asked_what_was_masked):
    ward = open_ward()
    with pytest.raises(ProtocolError):
        ward.coordinator(engine=Deceiving(ward)).run()
    assert ("h1", "stale-round") in ward.refused
    assert ward.sums == [1, 1, 1, 1]
    assert misfits(ward, 1) == [("other-sum", 2), ("not-taken", 1)]


def test_control_hospitals_that_look_at_no_round_end_in_a_release_and_their_logs_show_both_sums(
    open_ward, not_asked_what_was_masked, monkeypatch
):
    monkeypatch.setattr(applying, "_require_later_round", lambda state, total: None)
    ward = open_ward()
    ward.coordinator(engine=Deceiving(ward)).run()
    assert ward.sums == [3, 3, 3, 3]
    assert misfits(ward, 1) == [("other-sum", 2), ("not-taken", 1)]


# What a sum is bound to: the whole state, not the model alone


@pytest.fixture
def scaled(open_ward):
    """Five hospitals whose features are scaled by secure sums; the fifth is away while statistics are summed."""
    return open_ward(hospitals=5, spec=tabular_spec(**SCALED_BY_SUMS), choices=choices_of(training_of(rounds=3)))


def test_the_sum_of_statistics_is_not_taken_for_one_of_training(scaled):
    scaled.stop_before(Phase.MASK, 2)
    (first,) = (scaled.folder / "coordinator/sums").glob("statistics-000001.bin")
    payload = decode(read(scaled, first.read_bytes()).payload, Sum)
    before = status(scaled, 1)
    for step in (1, 2):
        again = msgspec.structs.replace(payload, step=step)
        message = scaled.forge(Stage.MISSED_SUM, again, epoch=1, round_number=1)
        assert refusal(scaled, scaled.hospitals[1].receive(message)) == "wrong-length"
    assert status(scaled, 1).state_digest == before.state_digest


def test_invented_statistics_are_not_vouched_for_by_a_true_sum_of_training(scaled):
    """The attack: sums of an epoch that nobody knows are held back; a true sum with a tag that fits follows."""
    absent = [DropOut(5, 1, phase) for phase in (Phase.MASK, Phase.APPLY)]
    away = [*absent, DropOut(5, 0, Phase.QUERY)]
    with pytest.raises(StoppedHereError):
        scaled.coordinator(engine=StoppingAfter(scaled.hospitals, away, Phase.APPLY, 2)).run()
    hospital = scaled.hospitals[5]
    assert hospital.state.reached == (0, 0)
    session = Session(scaled.charter, 999, Purpose.STATISTICS, 1, 1)
    invented = session.ring.zeros(session.length)
    invented[0] = 1 << 20
    payload = Sum(1, [1, 2, 3, 4], status(scaled, 5).state_digest, memoryview(pack(invented, session.ring)), bytes(16))
    hospital.receive(scaled.forge(Stage.MISSED_SUM, payload, epoch=999, round_number=1))
    (first,) = (scaled.folder / "coordinator/sums").glob("training-000001.bin")
    hospital.receive(first.read_bytes())
    assert hospital.state.reached == (0, 0)


@dataclass
class StoppingAfter:
    """Delivers everything but what drops out, until a phase of a round, and stops there."""

    parties: dict
    drop_outs: list
    phase: Phase
    round: int

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (self.phase, self.round):
            raise StoppedHereError(outbox)
        return EmbeddedEngine(self.parties, self.drop_outs).exchange(phase, outbox, round_number)


def test_a_hospital_that_was_away_during_statistics_is_brought_up_to_date_and_takes_part(scaled):
    away = [DropOut(5, 1, phase) for phase in (Phase.MASK, Phase.APPLY)]
    coordinator = scaled.coordinator(*away, DropOut(5, 0, Phase.ADVERTISE))
    coordinator.run()
    assert scaled.sums == [3, 3, 3, 3, 3]
    assert {hospital.state.reached for hospital in scaled.hospitals.values()} == {(1, 3)}
    assert len(scaled.models) == 1


@pytest.mark.parametrize("change", [{"survivors": [1, 3, 4, 5]}, {"cells": 7}], ids=["contributors", "counts"])
def test_nobody_endorses_other_contributors_or_counts_than_their_own(open_ward, change):
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=3), metrics="exact"))
    ward.stop_before(Phase.MASK, 2)
    ward.close()
    ward.state_file(2).unlink()
    ward = open_ward()
    session = Session(ward.charter, 1, Purpose.TRAINING, 1, 1)
    payload = decode(read(ward, kept_sums(ward, 1)[0]).payload, Sum)
    if "cells" in change:
        elements = unpack(payload.vector, session.length, session.ring)
        elements[-1] += change["cells"] << 10
        payload = msgspec.structs.replace(payload, vector=memoryview(pack(elements, session.ring)))
    else:
        payload = msgspec.structs.replace(payload, **change)
    ward.hospitals[2].receive(ward.forge(Stage.MISSED_SUM, payload, epoch=1, round_number=1))
    assert refusal(ward, ward.hospitals[2].receive(word_of(ward, 1, 3, 4, 5))) == "not-endorsed"
    assert ward.sums[1] == 0


def test_a_stop_outlives_a_disk_on_which_the_evidence_finds_no_room(open_ward, monkeypatch):
    ward = open_ward()
    forged = about_to_be_forged(ward, 1)
    full = InputError("unwritable", "no space left")

    def fails(*arguments):
        raise full

    monkeypatch.setattr(hospital_module, "write_atomically", fails)
    assert refusal(ward, ward.hospitals[1].receive(forged)) == "forged-sum"
    ward.close()
    with pytest.raises(ForgedSumError):
        open_ward()


def test_tag_keys_of_an_epoch_that_was_set_up_meanwhile_are_kept_when_held_back_sums_are_taken(behind):
    hospital = behind.hospitals[2]
    for message in kept_sums(behind, 1, 2):
        hospital.receive(message)
    hospital._state = hospital.state.after_set_up(9, bytes(32))
    hospital.receive(word_of(behind, 1, 3))
    assert hospital.state.sums == 2
    assert hospital.state.tag_key(9) == bytes(32)


def test_a_release_that_does_not_fit_leaves_the_one_that_does(open_ward):
    ward = open_ward()
    ward.coordinator().run()
    hospital = ward.hospitals[1]
    before = {path.name: path.read_bytes() for path in hospital.release_folder.iterdir()}
    assert stages(hospital.receive(ward.forge(Stage.RELEASE, Release(b"garbage")))) == [Stage.REFUSAL]
    assert {path.name: path.read_bytes() for path in hospital.release_folder.iterdir()} == before


def ahead(_status):
    """That it has come further than anybody can, in everything."""
    return Status(2**32 - 2, 2**32 - 2, 2, 1000, True, bytes(32), b"", ())


def test_one_member_that_claims_to_be_far_ahead_does_not_use_up_the_numbers(open_ward):
    ward = open_ward(hospitals=5)
    coordinator = ward.coordinator()
    assert coordinator._claimed([3, 2, 3, 2**32 - 1, 3]) == 3
    assert coordinator._claimed([2**32 - 1]) == 0
    assert coordinator._claimed([]) == 0


def test_nor_does_it_where_nobody_is_said_to_collude(open_ward):
    ward = open_ward(hospitals=5, choices=choices_of(max_colluding=0))
    number, hospital = 2, ward.hospitals[2]
    coordinator = ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {number: LyingAboutItself(hospital, ahead)}))
    assert coordinator._claimed([3, 2, 3, 2**32 - 1, 3]) == 3
    coordinator.run()
    assert max(other._latch.last_epoch(ward.charter.digest) for other in ward.hospitals.values()) < 10
    assert ward.sums == [3, 3, 3, 3, 3]
