"""The coordinator over real hospitals: drop-outs, refusals, epochs, and what it can pick up again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import pytest

from dp.ledger import Kind
from secagg.errors import InputError, ProtocolError, RefusedError, TamperingError
from secagg.masking import Purpose, Session
from secagg.masking.messages import Refusal
from secagg.release.dsse import read_envelope, verify_signatures
from secagg.release.statement import read_statement
from secagg.transcript import audit_folder, transcript_files
from secagg.wire import Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import (
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    RecordingEngine,
    StoppedHereError,
    StoppingEngine,
    Ward,
    choices_of,
    tabular_spec,
    training_of,
)
from tests.support.liars import LyingAboutItself, far_ahead, led_by_the_second
from tests.support.thinning import thinned
from training.attacks.members import FalseDealer
from training.coordinator import Coordinator
from training.coordinator_store import CoordinatorStore
from training.engines.base import Exchange, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.hospital import Hospital
from training.hospital_budget import HospitalBudget
from training.messages import LARGEST_ANSWER, Attest, Status
from training.parcels import parcels
from training.reached import Reached
from training.round_record import steps_summed
from training.statuses import cohort_told
from training.wrong_dealers import WrongDealers


def verified_statement(ward, signed):
    """The release, checked as an outsider would check it."""
    envelope = read_envelope(signed)
    release = read_statement(envelope.payload).predicate
    verify_signatures(envelope, ward.charter.charter, [entry.name for entry in release.contributors])
    return release


def assert_all_have_one_model(ward, sums):
    assert ward.sums == [sums] * len(ward.hospitals)
    assert len(ward.models) == 1


# Without trouble


def test_a_run_ends_in_a_release_that_every_hospital_signed(open_ward):
    ward = open_ward(hospitals=5)
    release = verified_statement(ward, ward.coordinator().run())
    assert [(entry.name, entry.sums) for entry in release.contributors] == [(f"h{n}", 3) for n in range(1, 6)]
    assert (release.sums, release.rounds) == (3, 3)
    assert all((hospital.release_folder / "model.safetensors").exists() for hospital in ward.hospitals.values())


def test_every_round_is_reported_once_with_who_took_part(open_ward):
    reported = []
    ward = open_ward()
    coordinator = ward.coordinator(on_round=reported.append)
    coordinator.run()
    assert tuple(reported) == coordinator.rounds
    assert [(record.round, record.step, record.survivors) for record in reported] == [
        (number, number, ("h1", "h2", "h3", "h4")) for number in (1, 2, 3)
    ]
    assert all(record.bytes_up > 0 and record.bytes_down > 0 and record.reason is None for record in reported)


def test_when_an_epochs_keys_are_used_up_a_new_epoch_is_opened_and_rounds_go_on_counting(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=5), epoch_rounds=2))
    engine = RecordingEngine(ward.hospitals)
    coordinator = ward.coordinator(engine=engine)
    coordinator.run()
    assert sum(phase is Phase.ADVERTISE for phase, *_ in engine.sent) == 3 * 4
    assert [record.round for record in coordinator.rounds] == [1, 2, 3, 4, 5]
    assert_all_have_one_model(ward, 5)


def test_feature_statistics_are_summed_first_and_do_not_count_as_rounds_of_training(open_ward):
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    coordinator = ward.coordinator()
    release = verified_statement(ward, coordinator.run())
    told = [(record.round, record.purpose, record.step) for record in coordinator.rounds]
    assert told == [
        (1, "statistics", 1),
        (2, "training", 1),
        (3, "training", 2),
        (4, "training", 3),
    ]
    assert (release.sums, release.rounds) == (3, 3)


def test_training_stops_early_once_the_exact_metric_reaches_the_target(open_ward):
    choices = choices_of(training_of(rounds=12, local_steps=10), metrics="exact", target=0.6)
    ward = open_ward(choices=choices)
    coordinator = ward.coordinator()
    release = verified_statement(ward, coordinator.run())
    assert release.sums == len(coordinator.rounds) < 12
    assert_all_have_one_model(ward, release.sums)


def test_control_a_target_out_of_reach_takes_every_round(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=4, local_steps=10), metrics="exact", target=1.0))
    ward.coordinator().run()
    assert_all_have_one_model(ward, 4)


def test_noisy_metrics_are_summed_and_paid_for(open_ward):
    choices = msgspec.structs.replace(PRIVATE_CHOICES, metrics="noisy")
    ward = open_ward(choices=choices, spec=PRIVATE_TASK)
    release = verified_statement(ward, ward.coordinator().run())
    assert_all_have_one_model(ward, 3)
    (cells,) = {hospital.state.progress.applied[-1].cells for hospital in ward.hospitals.values()}
    assert len(cells) == 2
    assert 0 < release.privacy.epsilon <= 8.0


# Drop-outs


def test_a_hospital_that_drops_out_of_a_round_is_not_in_its_sum_and_in_the_next(open_ward):
    ward = open_ward(hospitals=5)
    coordinator = ward.coordinator(DropOut(2, 2, Phase.MASK))
    release = verified_statement(ward, coordinator.run())
    first, second, third = coordinator.rounds
    assert second.dropped == ("h2",)
    assert "h2" in first.survivors
    assert "h2" in third.survivors
    assert {entry.name: entry.sums for entry in release.contributors} == {"h1": 3, "h2": 2, "h3": 3, "h4": 3, "h5": 3}
    assert_all_have_one_model(ward, 3)


def test_a_hospital_cut_off_after_sending_is_in_the_sum(open_ward):
    ward = open_ward(hospitals=5)
    coordinator = ward.coordinator(DropOut(2, 2, Phase.REVEAL))
    coordinator.run()
    assert coordinator.rounds[1].silent == ("h2",)
    assert "h2" in coordinator.rounds[1].survivors
    assert_all_have_one_model(ward, 3)


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.DEAL])
def test_a_hospital_silent_at_set_up_stays_out_of_the_epoch_and_has_the_model_all_the_same(open_ward, phase):
    class SilentOnce(EmbeddedEngine):
        silent = True

        def exchange(self, asked, outbox, round_number):
            if asked is phase and SilentOnce.silent:
                SilentOnce.silent = False
                outbox = [(number, message) for number, message in outbox if number != 3]
            return super().exchange(asked, outbox, round_number)

    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=3), epoch_rounds=2))
    coordinator = ward.coordinator(engine=SilentOnce(ward.hospitals))
    coordinator.run()
    assert coordinator.rounds[-1].survivors
    assert_all_have_one_model(ward, 3)


@pytest.mark.parametrize("missed", [1, 2, 3])
def test_a_hospital_that_misses_a_sum_catches_up(open_ward, missed):
    ward = open_ward(hospitals=5)
    ward.coordinator(DropOut(5, missed, Phase.APPLY)).run()
    assert_all_have_one_model(ward, 3)


def test_a_hospital_that_misses_the_statistics_catches_up(open_ward):
    ward = open_ward(hospitals=5, spec=tabular_spec(**SCALED_BY_SUMS))
    ward.coordinator(DropOut(5, 1, Phase.APPLY)).run()
    assert_all_have_one_model(ward, 3)


def test_a_round_with_too_few_hospitals_has_no_sum_and_is_tried_again(open_ward):
    ward = open_ward()
    coordinator = ward.coordinator(DropOut(1, 2, Phase.MASK), DropOut(2, 2, Phase.MASK))
    coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 0, 2, 3]
    assert coordinator.rounds[1].reason == "too-few-masked"
    assert_all_have_one_model(ward, 3)


def test_of_a_round_without_a_sum_only_those_who_sent_nothing_are_said_to_have_dropped_out(open_ward):
    ward = open_ward()
    coordinator = ward.coordinator(
        *(DropOut(number, 1, Phase.MASK) for number in (1, 2)), *(DropOut(number, 3, Phase.REVEAL) for number in (2, 3))
    )
    coordinator.run()
    nothing_sent, _, nothing_revealed, _, _ = coordinator.rounds
    assert (nothing_sent.dropped, nothing_sent.silent) == (("h1", "h2"), ())
    assert (nothing_revealed.dropped, nothing_revealed.silent) == ((), ("h2", "h3"))
    assert [record.dropped_out() for record in coordinator.rounds] == ["h1, h2", "", "h2, h3, after sending", "", ""]


SHARES_GIVEN_AND_NO_SUM = (DropOut(5, 2, Phase.MASK), DropOut(1, 2, Phase.REVEAL))


def test_a_step_for_which_shares_were_given_is_repeated_over_the_same_hospitals(open_ward):
    ward = open_ward(hospitals=5)
    coordinator = ward.coordinator(*SHARES_GIVEN_AND_NO_SUM)
    release = verified_statement(ward, coordinator.run())
    _, failed, repeated, last = coordinator.rounds
    assert failed.reason == "too-few-revealed"
    # The fifth is back: a sum with it would show what it sent.
    assert (repeated.step, repeated.survivors) == (2, ("h1", "h2", "h3", "h4"))
    assert last.survivors == ("h1", "h2", "h3", "h4", "h5")
    assert "differencing" not in {reason for _, reason in ward.refused}
    assert release.sums == 3
    assert_all_have_one_model(ward, 3)


def test_another_coordinator_repeats_it_so_too(open_ward):
    ward = open_ward(hospitals=5)
    away = [DropOut(1, round_, Phase.REVEAL) for round_ in (3, 4)]
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(*SHARES_GIVEN_AND_NO_SUM, *away).run()
    assert caught.value.reason == "too-few-revealed"
    coordinator = ward.coordinator()
    assert verified_statement(ward, coordinator.run()).sums == 3
    assert [record.survivors for record in coordinator.rounds[4:]] == [
        ("h1", "h2", "h3", "h4"),
        ("h1", "h2", "h3", "h4", "h5"),
    ]
    assert_all_have_one_model(ward, 3)


FOUR = ("h1", "h2", "h3", "h4")
ALL_FIVE = (*FOUR, "h5")


@pytest.fixture
def shares_out_and_folder_gone(open_ward):
    """Three of five hospitals have given shares for four, there was no sum, and the coordinator's folder is lost."""
    ward = open_ward(hospitals=5)
    away = [DropOut(1, round_, Phase.REVEAL) for round_ in (3, 4)]
    with pytest.raises(ProtocolError):
        ward.coordinator(*SHARES_GIVEN_AND_NO_SUM, *away).run()
    ward.refused.clear()
    shutil.rmtree(ward.folder / "coordinator")
    return ward


def test_so_does_one_whose_folder_was_lost_on_the_word_of_those_who_gave_shares(shares_out_and_folder_gone):
    ward = shares_out_and_folder_gone
    coordinator = ward.coordinator()
    assert verified_statement(ward, coordinator.run()).sums == 3
    assert [record.survivors for record in coordinator.rounds] == [FOUR, ALL_FIVE]
    assert ward.refused == []
    assert_all_have_one_model(ward, 3)


def test_and_one_that_got_a_copy_back_in_which_others_were_asked_for_shares_of_the_same_step(open_ward):
    ward = open_ward(hospitals=5)
    folder, copy = ward.folder / "coordinator", ward.folder / "copy"
    nobody = [DropOut(number, round_, Phase.REVEAL) for number in range(1, 6) for round_ in (2, 3, 4)]
    with pytest.raises(ProtocolError):
        ward.coordinator(*nobody).run()
    shutil.copytree(folder, copy)
    gone = [DropOut(5, round_, phase) for round_ in range(9) for phase in Phase]
    away = [DropOut(1, round_, Phase.REVEAL) for round_ in range(5, 9)]
    with pytest.raises(ProtocolError):
        ward.coordinator(*gone, *away).run()
    shutil.rmtree(folder)
    copy.rename(folder)
    coordinator = ward.coordinator()
    assert verified_statement(ward, coordinator.run()).sums == 3
    assert [record.survivors for record in coordinator.rounds if record.step in (2, 3)][-2:] == [FOUR, ALL_FIVE]
    assert_all_have_one_model(ward, 3)


def saying_that_shares_were_given_for(cohort):
    return lambda status: msgspec.structs.replace(status, revealed_for=cohort)


def with_liars(ward, numbers, lie):
    return ward.hospitals | {number: LyingAboutItself(ward.hospitals[number], lie) for number in numbers}


def test_where_they_say_nothing_of_it_nobody_else_gives_shares_in_vain(shares_out_and_folder_gone):
    """So that it is enough to leave the fifth away."""
    ward = shares_out_and_folder_gone
    silent = with_liars(ward, (2, 3, 4), saying_that_shares_were_given_for(()))
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=EmbeddedEngine(silent)).run()
    assert caught.value.reason == "too-few-agreed"
    assert "h2, h3, h4 refused (differencing)" in caught.value.message
    assert "(the difference: h5)" in caught.value.message
    assert {ward.hospitals[number]._revealed_for(ward.hospitals[number].state) for number in (1, 5)} == {()}
    del silent[5]
    coordinator = ward.coordinator(engine=EmbeddedEngine(silent))
    with pytest.raises(ProtocolError) as caught:
        coordinator.run()
    assert caught.value.reason == "release-incomplete"
    assert {record.survivors for record in coordinator.rounds if record.step} == {FOUR}
    assert verified_statement(ward, ward.coordinator().run()).sums == 3


def test_control_where_all_reveal_at_once_no_cohort_is_left_that_enough_agree_to(
    shares_out_and_folder_gone, monkeypatch
):
    ward = shares_out_and_folder_gone
    monkeypatch.setattr(Coordinator, "_asked_before", lambda *_: ())
    silent = with_liars(ward, (2, 3, 4), saying_that_shares_were_given_for(()))
    with pytest.raises(ProtocolError):
        ward.coordinator(engine=EmbeddedEngine(silent)).run()
    assert [ward.hospitals[number]._revealed_for(ward.hospitals[number].state) for number in (1, 2)] == [
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4),
    ]


@pytest.mark.parametrize("folder", ["kept", "lost"])
def test_one_hospital_that_says_so_falsely_leaves_nobody_out(open_ward, folder):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.MASK, 2)
    if folder == "lost":
        shutil.rmtree(ward.folder / "coordinator")
    liar = with_liars(ward, (2,), saying_that_shares_were_given_for((1, 2, 3, 4)))
    coordinator = ward.coordinator(engine=EmbeddedEngine(liar))
    assert verified_statement(ward, coordinator.run()).sums == 3
    assert {record.survivors for record in coordinator.rounds} == {ALL_FIVE}


def test_control_a_coordinator_to_which_one_word_is_enough_leaves_the_fifth_out(open_ward, monkeypatch):
    ward = open_ward(hospitals=5)
    monkeypatch.setattr(
        "training.coordinator.cohort_told", lambda statuses, reached, _liars: cohort_told(statuses, reached, 0)
    )
    liar = with_liars(ward, (2,), saying_that_shares_were_given_for((1, 2, 3, 4)))
    coordinator = ward.coordinator(engine=EmbeddedEngine(liar))
    coordinator.run()
    assert coordinator.rounds[0].survivors == FOUR


def test_too_few_hospitals_three_times_in_a_row_stop_the_run_with_a_reason(open_ward):
    ward = open_ward()
    away = [DropOut(number, round_, Phase.MASK) for number in (1, 2) for round_ in (2, 3, 4)]
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(*away).run()
    assert (caught.value.reason, caught.value.exit_code) == ("too-few-masked", 1)
    assert "Fewer than 3 hospitals" in caught.value.message
    assert caught.value.remedy
    assert_all_have_one_model(ward, 1)


def with_much_to_spend(policy):
    return msgspec.structs.replace(policy, maximum_epsilon=100.0)


def refusing(monkeypatch, members, ward):
    """Let these hospitals refuse to pay for any round."""
    broke = [ward.hospitals[member]._budget for member in members]
    charge = HospitalBudget.charge

    def refuse(budget, round_number, step):
        if budget in broke:
            raise RefusedError("budget-exceeded", "Nothing is left.")
        charge(budget, round_number, step)

    monkeypatch.setattr(HospitalBudget, "charge", refuse)


def test_a_run_that_stops_for_refusals_says_whose_and_why_and_not_to_wait(open_ward, monkeypatch):
    ward = open_ward()
    refusing(monkeypatch, (2, 3), ward)
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator().run()
    assert caught.value.reason == "too-few-masked"
    assert "h2, h3 refused (budget-exceeded): This hospital's own log says why." in caught.value.message
    assert caught.value.message.count("refused") == 1
    assert caught.value.remedy.startswith("Waiting does not help")


def test_who_refused_a_round_is_told_apart_from_who_was_away(open_ward, monkeypatch):
    ward = open_ward()
    refusing(monkeypatch, (2, 3), ward)
    coordinator = ward.coordinator(DropOut(4, 1, Phase.MASK))
    with pytest.raises(ProtocolError):
        coordinator.run()
    assert coordinator.rounds[0].dropped_out() == "h4; h2, h3 (budget-exceeded)"
    assert coordinator.rounds[1].dropped_out() == "h2, h3 (budget-exceeded)"


def test_a_run_that_stops_for_silence_says_to_wait_also_where_one_refused(open_ward, monkeypatch):
    ward = open_ward()
    refusing(monkeypatch, (2,), ward)
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(*(DropOut(3, round_, Phase.MASK) for round_ in (1, 2, 3))).run()
    assert "h2 refused (budget-exceeded)" in caught.value.message
    assert caught.value.remedy.startswith("Wait until enough hospitals can be reached")


def test_after_such_a_stop_the_run_goes_on_where_it_was(open_ward):
    ward = open_ward()
    away = [DropOut(number, round_, Phase.MASK) for number in (1, 2) for round_ in (2, 3, 4)]
    with pytest.raises(ProtocolError):
        ward.coordinator(*away).run()
    ward.close()
    ward = open_ward()
    release = verified_statement(ward, ward.coordinator().run())
    assert (release.sums, release.rounds) == (3, 6)
    assert_all_have_one_model(ward, 3)


def test_an_epoch_that_too_few_hospitals_enter_stops_the_run_with_a_reason(open_ward):
    ward = open_ward()
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(DropOut(1, 0, Phase.ADVERTISE), DropOut(2, 0, Phase.ADVERTISE)).run()
    assert (caught.value.reason, caught.value.exit_code) == ("too-few-advertised", 1)


@pytest.mark.parametrize("member", [1, 4])
def test_a_refusal_is_in_the_rounds_record_whoever_gives_it(open_ward, monkeypatch, member):
    ward = open_ward()
    broke = ward.hospitals[member]._budget
    charge = HospitalBudget.charge

    def refuse(budget, round_number, step):
        if budget is broke and round_number == 1:
            raise RefusedError("budget-exceeded", "Nothing is left.")
        charge(budget, round_number, step)

    monkeypatch.setattr(HospitalBudget, "charge", refuse)
    coordinator = ward.coordinator()
    coordinator.run()
    first = coordinator.rounds[0]
    assert [(refusal.member, refusal.reason) for refusal in first.refusals] == [(f"h{member}", "budget-exceeded")]


class Senseless:
    """A hospital that answers like any other, but with garbage in one phase."""

    def __init__(self, hospital, stage):
        self.hospital = hospital
        self.stage = stage

    def receive(self, message):
        replies = self.hospital.receive(message)
        return [b"\xff garbage"] if peek(message).stage is self.stage else replies


@pytest.mark.parametrize("stage", [Stage.QUERY, Stage.OPEN, Stage.BEGIN, Stage.UNMASK, Stage.SUM])
def test_one_hospitals_senseless_answers_do_not_stop_the_others(open_ward, stage):
    ward = open_ward(hospitals=5)
    parties = ward.hospitals | {2: Senseless(ward.hospitals[2], stage)}
    contributors = {"h1", "h3", "h4", "h5"}
    if stage is Stage.QUERY:
        # Nobody knows where it is, so nobody asks for its signature: what it gave is in the model all the same.
        with pytest.raises(ProtocolError) as caught:
            ward.coordinator(engine=EmbeddedEngine(parties)).run()
        assert caught.value.reason == "release-incomplete"
    else:
        release = verified_statement(ward, ward.coordinator(engine=EmbeddedEngine(parties)).run())
        assert contributors <= {entry.name for entry in release.contributors}
    assert [ward.hospitals[number].state.sums for number in (1, 3, 4, 5)] == [3, 3, 3, 3]


class Grumbling:
    """A hospital that is asked for an update and answers with a thousand refusals at great length."""

    def __init__(self, ward, member):
        self.ward = ward
        self.member = member

    def receive(self, message):
        header = peek(message)
        if header.stage is not Stage.BEGIN:
            return self.ward.hospitals[self.member].receive(message)
        identity = self.ward.hospitals[self.member]._identity
        sealer = Sealer(self.ward.charter, self.member, identity, header.epoch)
        return [sealer.seal(Stage.REFUSAL, Refusal("no", "no " * 300), round=header.round)] * 1000


def test_of_a_hospital_that_refuses_at_length_little_is_noted(open_ward):
    ward = open_ward(hospitals=5)
    coordinator = ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {2: Grumbling(ward, 2)}))
    coordinator.run()
    noted = [refusal for record in coordinator.rounds for refusal in record.refusals]
    assert len(noted) == len(coordinator.rounds)
    assert all(len(refusal.message) <= 300 for refusal in noted)


class Loud:
    """A hospital that answers with twenty megabytes of nothing, within epochs and around them."""

    def __init__(self, hospital):
        self.hospital = hospital

    def receive(self, message):
        replies = self.hospital.receive(message)
        stages = (Stage.BEGIN, Stage.SUM, Stage.RELEASE, Stage.WITNESS)
        return [bytes(20 << 20)] if peek(message).stage in stages else replies


def test_a_hospital_that_answers_far_too_much_leaves_the_transcript_whole_and_small(open_ward):
    ward = open_ward(hospitals=5)
    ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {2: Loud(ward.hospitals[2])})).run()
    transcript = ward.folder / "coordinator" / "transcript"
    assert audit_folder(transcript, ward.charter).findings == ()
    assert sum(path.stat().st_size for path in transcript.iterdir()) < 1 << 20


def premature(status):
    """That it has applied a sum where none was ever made."""
    return msgspec.structs.replace(status, steps=max(1, status.steps))


def test_one_that_claims_to_have_trained_does_not_keep_statistics_from_being_summed(open_ward):
    ward = open_ward(hospitals=5, spec=tabular_spec(**SCALED_BY_SUMS))
    coordinator = ward.coordinator(
        engine=EmbeddedEngine(ward.hospitals | {2: LyingAboutItself(ward.hospitals[2], premature)})
    )
    coordinator.run()
    assert [record.purpose for record in coordinator.rounds][:2] == ["statistics", "training"]
    assert_all_have_one_model(ward, 3)


def test_a_senseless_attestation_is_named(open_ward):
    ward = open_ward()
    parties = ward.hospitals | {2: Senseless(ward.hospitals[2], Stage.CONCLUDE)}
    with pytest.raises(ProtocolError, match="h2: A message cannot be read") as caught:
        ward.coordinator(engine=EmbeddedEngine(parties)).run()
    assert caught.value.reason == "release-incomplete"


class AfterSharesEngine(StoppingEngine):
    """Stops once the messages of that phase are delivered, and loses every answer."""

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (self.phase, self.round):
            EmbeddedEngine(self.parties).exchange(phase, outbox, round_number)
        return super().exchange(phase, outbox, round_number)


class Boasting:
    """A hospital that says several times, of every sum and when it is asked, that it has finished."""

    def __init__(self, ward, number, times):
        self.hospital = ward.hospitals[number]
        self.charter = ward.charter
        self.times = times

    def receive(self, message):
        replies = self.hospital.receive(message)
        if peek(message).stage not in (Stage.SUM, Stage.QUERY):
            return replies
        status = decode(open_envelope(self.hospital._status(), self.charter, LARGEST_ANSWER).payload, Status)
        boast = msgspec.structs.replace(status, finished=True)
        return [self.hospital._sealer().seal(Stage.STATUS, boast)] * self.times


def test_one_hospital_that_says_many_times_that_it_has_finished_does_not_end_the_training(open_ward):
    ward = open_ward()
    ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {2: Boasting(ward, 2, times=4)})).run()
    assert_all_have_one_model(ward, 3)


def test_control_as_many_as_the_threshold_do_end_it(open_ward):
    ward = open_ward()
    boasting = {number: Boasting(ward, number, times=1) for number in (1, 2, 3)}
    with pytest.raises(ProtocolError):
        ward.coordinator(engine=EmbeddedEngine(ward.hospitals | boasting)).run()
    assert ward.sums == [0, 0, 0, 0]


class TakesNoSum:
    """A hospital that does what it is asked, and takes no sum; it may say so."""

    def __init__(self, ward, number, says_so):
        self.ward = ward
        self.number = number
        self.says_so = says_so

    def receive(self, message):
        header = peek(message)
        if header.stage is not Stage.SUM:
            return self.ward.hospitals[self.number].receive(message)
        identity = self.ward.hospitals[self.number]._identity
        sealer = Sealer(self.ward.charter, self.number, identity, header.epoch)
        refusal = sealer.seal(Stage.REFUSAL, Refusal("forged-contribution", "See the log."), round=header.round)
        return [refusal] if self.says_so else []


@pytest.mark.parametrize("epoch_rounds", [1, 2])
def test_sums_that_no_hospital_takes_stop_the_run_and_are_charged_no_more(open_ward, epoch_rounds):
    """Under the schemes that encrypt, such a step is summed anew: without an end, were each sum a success."""
    choices = msgspec.structs.replace(PRIVATE_CHOICES, scheme="double-lock", epoch_rounds=epoch_rounds)
    ward = open_ward(choices=choices, spec=PRIVATE_TASK, policy=with_much_to_spend)
    parties = {number: TakesNoSum(ward, number, says_so=number < 4) for number in ward.hospitals}

    def count(record):
        assert record.round <= 6, "the run goes on and on"

    coordinator = ward.coordinator(engine=EmbeddedEngine(parties), on_round=count)
    with pytest.raises(ProtocolError) as caught:
        coordinator.run()
    assert caught.value.reason == "sum-not-taken"
    # What a coordinator in the field goes by, which is another one for each epoch.
    assert steps_summed(coordinator.rounds) == {("training", 1)}
    assert sum(record.step == 1 for record in coordinator.rounds) > 1
    assert "h1, h2, h3 refused (forged-contribution)" in caught.value.message
    assert caught.value.remedy.startswith("Waiting does not help")
    assert max(hospital._budget.rounds_charged for hospital in ward.hospitals.values()) <= 4


def test_control_a_sum_that_was_lost_once_is_made_again_and_the_run_goes_on(open_ward):
    ward = open_ward(choices=choices_of(scheme="double-lock"))
    lost = [DropOut(number, 2, Phase.APPLY) for number in ward.hospitals]
    coordinator = ward.coordinator(*lost)
    assert verified_statement(ward, coordinator.run()).sums == 3
    assert [record.step for record in coordinator.rounds if record.step] == [1, 2, 2, 3]
    assert_all_have_one_model(ward, 3)


def test_one_that_deals_wrongly_is_named_and_holds_the_run_until_it_deals_rightly(open_ward):
    """Found out when shares are out already: without it, the difference of two sums would show what it sent."""
    ward = open_ward(hospitals=5)
    honest = ward.hospitals[2]._client.__class__
    ward.hospitals[2]._client.__class__ = FalseDealer
    first = ward.coordinator()
    with pytest.raises(ProtocolError) as caught:
        first.run()
    assert caught.value.reason == "wrong-dealing"
    assert "h2 dealt wrongly (found in round 1), and the sum that is due can be made with h2 only" in str(caught.value)
    assert "Ask h2" in caught.value.remedy
    assert [record.reason for record in first.rounds] == ["wrong-dealing"] * 3
    assert all((found.member, found.reason) == ("h2", "wrong-dealing") for found in first.rounds[0].refusals)
    ward.hospitals[2]._client.__class__ = honest
    release = verified_statement(ward, ward.coordinator().run())
    assert [entry.sums for entry in release.contributors] == [3, 1, 3, 3, 3]
    assert_all_have_one_model(ward, 3)


class SilentEngine(EmbeddedEngine):
    """Loses what the second hospital is asked to mask: it is not in the sum, and its dealing is found out."""

    def exchange(self, phase, outbox, round_number):
        lost = 2 if phase is Phase.MASK else None
        return super().exchange(phase, [item for item in outbox if item[0] != lost], round_number)


@pytest.fixture
def found_dealing_wrongly(open_ward):
    """The second of five dealt wrongly, sent no vector, and was found out in the first epoch."""
    ward = open_ward(hospitals=5)
    ward.hospitals[2]._client.__class__ = FalseDealer
    coordinator = ward.coordinator(engine=SilentEngine(ward.hospitals))
    assert coordinator.run_epoch() is None
    assert coordinator.rounds[0].refusals[0].member == "h2"
    return ward


def epochs_by_a_coordinator_each(ward, most):
    """As in the field, where each epoch is a process of its own; the release, if it came to one."""
    for _ in range(most):
        if release := ward.coordinator(engine=SilentEngine(ward.hospitals)).run_epoch():
            return release
    return None


def test_who_dealt_wrongly_is_left_out_by_every_coordinator_after(found_dealing_wrongly):
    ward = found_dealing_wrongly
    release = verified_statement(ward, epochs_by_a_coordinator_each(ward, 2))
    assert [entry.name for entry in release.contributors] == ["h1", "h3", "h4", "h5"]
    # The round in which it was found, and one for each sum.
    assert ward.hospitals[1]._budget.rounds_charged == 4


def test_control_coordinators_that_forget_it_come_to_no_sum_and_every_hospital_pays_each_time(
    found_dealing_wrongly, monkeypatch
):
    monkeypatch.setattr(WrongDealers, "_load", lambda dealers: {})
    assert epochs_by_a_coordinator_each(found_dealing_wrongly, 4) is None
    assert found_dealing_wrongly.hospitals[1]._budget.rounds_charged == 5
    assert found_dealing_wrongly.sums == [0] * 5


def test_once_the_file_is_removed_it_takes_part_again(found_dealing_wrongly):
    ward = found_dealing_wrongly
    ward.hospitals[2]._client.__class__ = ward.hospitals[1]._client.__class__
    (ward.folder / "coordinator/wrong-dealers.json").unlink()
    # The first step is made over those who gave shares for it.
    release = verified_statement(ward, ward.coordinator().run())
    assert [(entry.name, entry.sums) for entry in release.contributors][1] == ("h2", 2)


def test_a_run_that_cannot_go_on_without_the_one_that_is_left_out_says_so(found_dealing_wrongly):
    few = {number: found_dealing_wrongly.hospitals[number] for number in (1, 2, 3)}
    with pytest.raises(ProtocolError) as caught:
        found_dealing_wrongly.coordinator(engine=EmbeddedEngine(few)).run()
    assert caught.value.reason == "too-few-advertised"
    assert caught.value.message.endswith("h2 dealt wrongly (found in round 1), and is left out.")
    assert "wrong-dealers.json" in caught.value.remedy
    # Nobody has paid for another round.
    assert found_dealing_wrongly.hospitals[1]._budget.rounds_charged == 1


@pytest.mark.parametrize("damage", [b"{", b'{"h2": "3"}', b'{"nobody": 3}', b"\xff"])
def test_a_damaged_file_of_wrong_dealers_is_refused(found_dealing_wrongly, damage):
    (found_dealing_wrongly.folder / "coordinator/wrong-dealers.json").write_bytes(damage)
    with pytest.raises(TamperingError) as caught:
        found_dealing_wrongly.coordinator()
    assert caught.value.reason == "damaged-coordinator-state"
    assert caught.value.culprit.endswith("wrong-dealers.json")


def test_a_step_for_which_shares_were_given_waits_for_the_one_that_is_missing(open_ward):
    """What is asked of the others meanwhile, and refused, does not make the coordinator forget whom to ask again."""
    ward = open_ward(hospitals=5)
    gone = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=AfterSharesEngine(ward.hospitals, Phase.REVEAL, 2)).run()
    with pytest.raises(ProtocolError, match="differencing"):
        ward.coordinator(engine=EmbeddedEngine(gone)).run()
    assert verified_statement(ward, ward.coordinator().run()).sums == 3
    assert_all_have_one_model(ward, 3)


class ReachesEngine(AfterSharesEngine):
    """Delivers the messages of that phase to ``reached`` only, and stops there."""

    def __init__(self, parties, phase, round_number, reached):
        super().__init__(parties, phase, round_number)
        self.reached = reached

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (self.phase, self.round):
            outbox = [(member, message) for member, message in outbox if member in self.reached]
        return super().exchange(phase, outbox, round_number)


def test_a_step_for_which_some_gave_shares_costs_the_others_no_answer_until_enough_agree(open_ward):
    """Else some could answer for the one cohort only and some for the other, and neither be enough, for ever."""
    ward = open_ward(hospitals=6)
    without_six = {number: hospital for number, hospital in ward.hospitals.items() if number != 6}
    without_five = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=ReachesEngine(without_six, Phase.REVEAL, 2, {1, 2})).run()
    with pytest.raises(ProtocolError, match="differencing"):
        ward.coordinator(engine=EmbeddedEngine(without_five)).run()
    assert verified_statement(ward, ward.coordinator().run()).sums == 3
    assert_all_have_one_model(ward, 3)
    audit = audit_folder(ward.folder / "coordinator/transcript", ward.charter)
    assert not any(epoch.findings for epoch in audit.epochs)


@pytest.mark.parametrize("had_it", [{1, 2, 3, 4}, {1}, set()])
def test_a_release_is_given_out_again_by_another_coordinator_also_to_those_who_alone_lack_it(open_ward, had_it):
    """Those who have it are gone, and sign nothing any more."""
    ward = open_ward()
    coordinator = ward.coordinator(engine=StoppingEngine(ward.hospitals, Phase.RELEASE, 0))
    with pytest.raises(StoppedHereError) as stopped:
        coordinator.run()
    for number in had_it:
        ward.hospitals[number].receive(stopped.value.outbox[number])
    left = {number: hospital for number, hospital in ward.hospitals.items() if number not in had_it}
    release = verified_statement(ward, ward.coordinator(engine=EmbeddedEngine(left)).run())
    assert release.sums == 3
    assert all(hospital.is_released for hospital in ward.hospitals.values())


def test_one_that_was_away_at_the_end_is_brought_up_to_date_and_given_the_release(open_ward):
    ward = open_ward(hospitals=5)
    present = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    first = ward.coordinator(engine=EmbeddedEngine(present)).run()
    assert not ward.hospitals[5].is_released
    assert ward.coordinator().run() == first
    assert ward.hospitals[5].is_released
    assert_all_have_one_model(ward, 3)


@pytest.fixture
def only_the_fifth_is_left(open_ward):
    """It was away all along; the others have the release and are gone."""
    ward = open_ward(hospitals=5)
    ward.coordinator(engine=EmbeddedEngine({number: ward.hospitals[number] for number in (1, 2, 3, 4)})).run()
    return ward


def meet_the_fifth(ward):
    ward.coordinator(engine=EmbeddedEngine({5: ward.hospitals[5]})).run()


def test_one_that_was_away_until_all_others_are_gone_has_their_word_for_what_it_missed(only_the_fifth_is_left):
    meet_the_fifth(only_the_fifth_is_left)
    assert only_the_fifth_is_left.hospitals[5].is_released
    assert_all_have_one_model(only_the_fifth_is_left, 3)


@pytest.mark.parametrize("damage", [None, b"{", b'{"reached":[0,3],"signed":{}}'], ids=["gone", "damaged", "empty"])
def test_control_without_their_word_it_takes_no_sum_that_it_cannot_check(only_the_fifth_is_left, damage):
    words = only_the_fifth_is_left.folder / "coordinator/endorsements.json"
    words.unlink() if damage is None else words.write_bytes(damage)
    meet_the_fifth(only_the_fifth_is_left)
    assert only_the_fifth_is_left.sums == [3, 3, 3, 3, 0]
    assert not only_the_fifth_is_left.hospitals[5].is_released


# Going on


STOPS = [
    *[(phase, number) for number in (1, 2, 3) for phase in (Phase.MASK, Phase.REVEAL, Phase.APPLY)],
    (Phase.ADVERTISE, 0),
    (Phase.DEAL, 0),
    (Phase.READY, 0),
    (Phase.CONCLUDE, 0),
    (Phase.RELEASE, 0),
]


@pytest.mark.parametrize(("phase", "number"), thinned(STOPS, 8))
def test_a_run_stopped_anywhere_is_finished_by_a_new_coordinator_and_restarted_hospitals(open_ward, phase, number):
    ward = open_ward()
    ward.stop_before(phase, number)
    ward.close()
    ward = open_ward()
    coordinator = ward.coordinator()
    release = verified_statement(ward, coordinator.run())
    assert release.sums == 3
    assert_all_have_one_model(ward, 3)
    assert max(record.round for record in coordinator.rounds) <= release.rounds


@pytest.mark.parametrize(("phase", "number"), [(Phase.REVEAL, 2), (Phase.APPLY, 3)])
def test_a_private_run_stopped_within_a_round_states_what_that_round_cost(open_ward, phase, number):
    def larger(policy):
        return msgspec.structs.replace(policy, maximum_epsilon=12.0)

    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=larger)
    ward.stop_before(phase, number)
    ward.close()
    ward = open_ward()
    release = verified_statement(ward, ward.coordinator().run())
    paid = max(hospital._budget.rounds_charged for hospital in ward.hospitals.values())
    assert release.rounds >= paid
    assert release.privacy.epsilon >= max(hospital.epsilon for hospital in ward.hospitals.values())


def test_a_finished_run_concluded_again_gives_the_same_release(open_ward):
    ward = open_ward()
    first = ward.coordinator().run()
    ward.close()
    ward = open_ward()
    assert ward.coordinator().run() == first


def test_a_coordinator_that_lost_its_folder_after_training_can_still_release(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.CONCLUDE, 0)
    shutil.rmtree(ward.folder / "coordinator")
    release = verified_statement(ward, ward.coordinator().run())
    assert (release.sums, release.rounds) == (3, 3)


def test_a_coordinator_that_lost_its_folder_within_training_goes_on_from_where_the_hospitals_are(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    shutil.rmtree(ward.folder / "coordinator")
    assert verified_statement(ward, ward.coordinator().run()).sums == 3
    assert_all_have_one_model(ward, 3)


@pytest.fixture
def two_sums_in_the_copy(open_ward):
    """After four sums the coordinator's folder was lost, and the copy put back that was made after two."""
    ward = open_ward(choices=choices_of(training_of(rounds=6)))
    folder, copy = ward.folder / "coordinator", ward.folder / "copy"
    ward.coordinator().run_epoch()
    shutil.copytree(folder, copy)
    ward.coordinator().run_epoch()
    assert ward.sums == [4, 4, 4, 4]
    shutil.rmtree(folder)
    copy.rename(folder)
    return ward


def stopped_as_it_gives_out_the_fifth_sum(ward, reached):
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=ReachesEngine(ward.hospitals, Phase.APPLY, 5, reached)).run()


@pytest.mark.parametrize("reached", [set(), {1}])
def test_one_that_lacks_earlier_sums_gives_out_a_later_one_that_it_kept_and_makes_it_once(
    two_sums_in_the_copy, reached
):
    ward = two_sums_in_the_copy
    stopped_as_it_gives_out_the_fifth_sum(ward, reached)
    coordinator = ward.coordinator()
    release = verified_statement(ward, coordinator.run())
    assert (release.sums, release.rounds) == (6, 6)
    assert not ward.refused
    assert_all_have_one_model(ward, 6)


def test_control_one_that_counts_the_sums_in_its_folder_begins_that_sum_anew_and_can_never_make_it(
    two_sums_in_the_copy, monkeypatch
):
    ward = two_sums_in_the_copy
    stopped_as_it_gives_out_the_fifth_sum(ward, {1})
    monkeypatch.setattr(
        CoordinatorStore, "reached", property(lambda store: Reached(0, len(store._kept[Purpose.TRAINING])))
    )
    with pytest.raises(ProtocolError, match="Fewer than 3 hospitals answered while agreeing"):
        ward.coordinator().run()
    assert set(ward.refused) == {("h1", "missed-sum"), *((name, "differencing") for name in ("h2", "h3", "h4"))}


def test_nor_does_one_begin_it_anew_that_lost_the_sums_of_statistics(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=4)), spec=tabular_spec(**SCALED_BY_SUMS))
    for _ in range(2):
        ward.coordinator().run_epoch()
    shutil.rmtree(ward.folder / "coordinator")
    going_on = max(ward.sums) + 1
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StopsAtEpochEngine(ward.hospitals, Phase.APPLY, 1, {1})).run()
    assert sorted(ward.sums) == [going_on - 1] * 3 + [going_on]
    assert ward.coordinator()._store.reached == Reached(0, going_on)
    assert verified_statement(ward, ward.coordinator().run()).sums == 4
    assert not ward.refused


class StopsAtEpochEngine(StoppingEngine):
    """Stops at a phase of the ``nth`` epoch that it sees, once the message of that phase has reached ``reached``."""

    def __init__(self, parties, phase, nth, reached):
        super().__init__(parties, phase, 0)
        self.left, self.reached = nth, reached

    def exchange(self, phase, outbox, round_number):
        self.left -= phase is self.phase
        if self.left or phase is not self.phase:
            return EmbeddedEngine(self.parties).exchange(phase, outbox, round_number)
        EmbeddedEngine(self.parties).exchange(phase, [sent for sent in outbox if sent[0] in self.reached], round_number)
        raise StoppedHereError(outbox)


STATE_LOST_AT = [
    *[(Phase.ADVERTISE, nth, reached) for nth in (1, 2) for reached in (set(), {1})],
    *[(Phase.MASK, nth, reached) for nth in (1, 2, 3) for reached in (set(), {1})],
    *[(Phase.APPLY, nth, reached) for nth in (1, 2, 3) for reached in (set(), {1})],
]


def stopped_without_its_state(ward, phase, nth, reached, earlier=None):
    """It was stopped there, and ``coordinator.json`` was damaged: removed, or put back as it was ``earlier``."""
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StopsAtEpochEngine(ward.hospitals, phase, nth, reached)).run()
    state = ward.folder / "coordinator/coordinator.json"
    state.unlink() if earlier is None else state.write_bytes(earlier)


def audited(ward):
    return [finding.reason for finding in audit_folder(ward.folder / "coordinator/transcript", ward.charter).findings]


@pytest.mark.parametrize(("phase", "nth", "reached"), thinned(STATE_LOST_AT, 8))
def test_one_that_lost_its_state_alone_uses_no_number_again_that_its_transcript_has(open_ward, phase, nth, reached):
    ward = open_ward()
    stopped_without_its_state(ward, phase, nth, reached)
    release = verified_statement(ward, ward.coordinator().run())
    assert release.sums == 3
    assert_all_have_one_model(ward, 3)
    assert not ward.refused
    assert audited(ward) == []


@pytest.mark.parametrize(("phase", "reached", "rounds"), [(Phase.MASK, set(), 4), (Phase.APPLY, {1}, 3)])
def test_nor_does_one_that_got_an_older_state_back(open_ward, phase, reached, rounds):
    ward = open_ward()
    ward.coordinator().run_epoch()
    earlier = (ward.folder / "coordinator/coordinator.json").read_bytes()
    stopped_without_its_state(ward, phase, 1, reached, earlier)
    assert verified_statement(ward, ward.coordinator().run()).rounds == rounds
    assert not ward.refused
    assert audited(ward) == []


def test_nor_does_one_that_got_one_back_from_earlier_in_the_same_epoch(open_ward):
    """The round in which it was stopped has no line in the record of rounds."""
    ward = open_ward(choices=choices_of(epoch_rounds=3))
    state = ward.folder / "coordinator/coordinator.json"
    earlier = []
    engine = StoppingEngine(ward.hospitals, Phase.MASK, 2)
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=engine, on_round=lambda _: earlier.append(state.read_bytes())).run()
    state.write_bytes(earlier[0])
    coordinator = ward.coordinator()
    assert verified_statement(ward, coordinator.run()).rounds == 4
    assert [record.round for record in coordinator.rounds] == [1, 3, 4]
    assert audited(ward) == []


@pytest.mark.parametrize(
    ("phase", "finding"), [(Phase.ADVERTISE, "out-of-order"), (Phase.MASK, "duplicate-round")], ids=["epoch", "round"]
)
def test_control_one_that_asks_only_the_hospitals_uses_one_twice(open_ward, monkeypatch, phase, finding):
    monkeypatch.setattr(Coordinator, "_go_beyond_the_transcript", lambda _: None)
    ward = open_ward()
    stopped_without_its_state(ward, phase, 1, set())
    ward.coordinator().run()
    assert audited(ward) == [finding]


def test_a_damaged_transcript_keeps_nobody_from_going_on(open_ward):
    ward = open_ward()
    stopped_without_its_state(ward, Phase.MASK, 2, set())
    (newest,) = transcript_files(ward.folder / "coordinator/transcript")[-1:]
    newest.write_bytes((1).to_bytes(8, "big") + b"{")
    assert verified_statement(ward, ward.coordinator().run()).sums == 3


def test_one_that_lost_its_folder_after_all_had_attested_asks_for_the_same_rounds_again(open_ward):
    """Those of feature statistics are paid for by nobody, and no record of them is left."""
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    ward.stop_before(Phase.RELEASE, 0)
    shutil.rmtree(ward.folder / "coordinator")
    assert verified_statement(ward, ward.coordinator().run()).rounds == 3


def test_so_does_one_where_a_round_of_statistics_had_failed(open_ward):
    """It counts as one of training, for a coordinator that remembers it and for one that does not."""
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    failing = [DropOut(number, 1, Phase.MASK) for number in (1, 2)]
    unheard = [DropOut(number, 0, Phase.RELEASE) for number in ward.hospitals]
    coordinator = ward.coordinator(*failing, *unheard)
    release = coordinator.run()
    assert [record.step for record in coordinator.rounds] == [0, 1, 1, 2, 3]
    assert (verified_statement(ward, release).sums, verified_statement(ward, release).rounds) == (3, 4)
    shutil.rmtree(ward.folder / "coordinator")
    assert ward.coordinator().run() == release


class KilledError(Exception):
    """A hospital's process has ended."""


def killed_while_training(ward, begin, numbers):
    """These hospitals begin the round and pay for it, and no vector of it comes to be."""

    def ends(*_):
        raise KilledError

    for number in numbers:
        ward.hospitals[number]._contributor.update = ends
        with pytest.raises(KilledError):
            ward.hospitals[number].receive(begin[number])
    ward.close()


def rounds_paid_for(ward):
    """By hospital, the numbers of the rounds that it has charged, in order."""
    entries = {number: hospital._ledger._entries for number, hospital in ward.hospitals.items()}
    return {number: [entry.round for entry in log if entry.kind is Kind.CHARGE] for number, log in entries.items()}


@pytest.fixture
def paid_for_and_lost(open_ward):
    """In round 2 hospitals have paid and masked nothing, and they and the coordinator's folder are gone."""

    def begin_again(*killed):
        ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=with_much_to_spend)
        killed_while_training(ward, ward.stop_before(Phase.MASK, 2), killed)
        shutil.rmtree(ward.folder / "coordinator")
        return open_ward()

    return begin_again


@pytest.mark.parametrize("killed", [(1,), (1, 2), (1, 2, 3, 4)])
def test_no_hospital_pays_twice_for_one_round_of_a_coordinator_that_lost_its_folder_and_there_is_a_release(
    paid_for_and_lost, killed
):
    ward = paid_for_and_lost(*killed)
    release = verified_statement(ward, ward.coordinator().run())
    paid = rounds_paid_for(ward)
    assert all(len(set(rounds)) == len(rounds) <= release.rounds for rounds in paid.values())
    assert {number for number, rounds in paid.items() if 2 in rounds} >= set(killed)
    assert release.privacy.epsilon >= max(hospital.epsilon for hospital in ward.hospitals.values())
    assert_all_have_one_model(ward, 3)


def test_control_hospitals_that_look_at_no_number_pay_twice_for_it_and_can_sign_no_release(
    paid_for_and_lost, monkeypatch
):
    monkeypatch.setattr(HospitalBudget, "newest_round", 0)
    ward = paid_for_and_lost(1, 2, 3, 4)
    for _ in range(2):
        with pytest.raises(ProtocolError, match="this hospital has taken part in more"):
            ward.coordinator().run()
    assert set(map(tuple, rounds_paid_for(ward).values())) == {(1, 2, 2, 3)}


@dataclass
class CopyingEngine:
    """Copies the coordinator's folder while round 4 is with the hospitals; some of them are away."""

    ward: Ward
    away: list[DropOut]

    @property
    def copy(self):
        return self.ward.folder / "copy"

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (Phase.MASK, 4):
            shutil.copytree(self.ward.folder / "coordinator", self.copy)
        return EmbeddedEngine(self.ward.hospitals, self.away).exchange(phase, outbox, round_number)


ONE_SUM_TO_COME_IN_ITS_OWN_EPOCH = msgspec.structs.replace(
    PRIVATE_CHOICES, training=training_of(rounds=4, local_steps=1), epoch_rounds=3
)


@pytest.fixture(params=["lost", "put back", "put back, of an earlier version"])
def only_the_first_masked(open_ward, request):
    """Rounds 4 to 6 were paid for and masked by the first hospital alone, and the coordinator's folder lacks 5 and 6.

    One of an earlier version does not say how many rounds may have been forgotten.
    """

    def begin_again(hospitals):
        ward = open_ward(
            hospitals, choices=ONE_SUM_TO_COME_IN_ITS_OWN_EPOCH, spec=PRIVATE_TASK, policy=with_much_to_spend
        )
        away = [DropOut(number, round_, Phase.MASK) for number in range(2, hospitals + 1) for round_ in (4, 5, 6)]
        engine = CopyingEngine(ward, away)
        with pytest.raises(ProtocolError, match="answered while collecting"):
            ward.coordinator(engine=engine).run()
        assert rounds_paid_for(ward) == {1: [1, 2, 3, 4, 5, 6]} | {
            number: [1, 2, 3] for number in range(2, hospitals + 1)
        }
        shutil.rmtree(ward.folder / "coordinator")
        if request.param != "lost":
            engine.copy.rename(ward.folder / "coordinator")
        if request.param == "put back, of an earlier version":
            state = ward.folder / "coordinator/coordinator.json"
            state.write_bytes(state.read_bytes().replace(b'"forgotten":0,', b""))
        return ward

    return begin_again


def assert_released_with_all_paid_once(ward, release):
    paid = rounds_paid_for(ward).values()
    assert all(len(set(rounds)) == len(rounds) <= release.rounds for rounds in paid)
    assert release.privacy.epsilon >= max(hospital.epsilon for hospital in ward.hospitals.values())
    assert_all_have_one_model(ward, 4)


@pytest.mark.parametrize("hospitals", [3, 4])
def test_one_whose_folder_was_lost_or_put_back_begins_no_round_that_a_single_hospital_has_masked(
    only_the_first_masked, hospitals
):
    """With three no sum can do without it. With four it could, and that one would sign no release."""
    ward = only_the_first_masked(hospitals)
    assert ward.charter.charter.threshold == 3
    coordinator = ward.coordinator()
    release = verified_statement(ward, coordinator.run())
    assert coordinator.rounds[-1].round == 7
    assert (release.sums, release.rounds) == (4, 7)
    assert_released_with_all_paid_once(ward, release)


def test_nor_does_it_if_that_one_cannot_be_reached_at_first(only_the_first_masked):
    ward = only_the_first_masked(3)
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=EmbeddedEngine({number: ward.hospitals[number] for number in (2, 3)})).run()
    assert caught.value.reason == "too-few-advertised"
    release = verified_statement(ward, ward.coordinator().run())
    assert release.rounds == 7
    assert_released_with_all_paid_once(ward, release)


@pytest.mark.parametrize("hospitals", [3, 4])
def test_control_one_that_believes_no_single_hospital_never_comes_to_a_release(
    only_the_first_masked, monkeypatch, hospitals
):
    monkeypatch.setattr(Coordinator, "_go_beyond_the_furthest", lambda *_: None)
    ward = only_the_first_masked(hospitals)
    why = {3: "h1 refused (stale-round): Round", 4: "this hospital has taken part in more"}[hospitals]
    for _ in range(4):
        with pytest.raises(ProtocolError) as caught:
            ward.coordinator().run()
        assert why in caught.value.message


def test_a_single_hospital_that_lies_about_its_rounds_is_believed_for_three_rounds_of_a_whole_run(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=6)))
    coordinator = ward.coordinator(engine=led_by_the_second(ward))
    release = verified_statement(ward, coordinator.run())
    assert [record.round for record in coordinator.rounds] == [1, 2, 6, 7, 8, 9]
    assert release.rounds == 9
    assert_all_have_one_model(ward, 6)


def far_ahead_in_all(status):
    """In rounds as `far_ahead`, and in epochs too."""
    return msgspec.structs.replace(far_ahead(status), epoch=2**32 - 1)


@pytest.mark.parametrize("lie", [far_ahead, far_ahead_in_all])
@pytest.mark.parametrize(
    ("spec", "left_out"), [({}, "3 to 5"), (SCALED_BY_SUMS, "2 to 4")], ids=["unscaled", "scaled by sums"]
)
def test_what_the_coordinator_then_leaves_out_is_said_to_be_missing_and_who_lied_is_named(
    open_ward, lie, spec, left_out
):
    ward = open_ward(choices=choices_of(training_of(rounds=4)), spec=tabular_spec(**spec))
    ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {2: LyingAboutItself(ward.hospitals[2], lie)})).run()
    (finding,) = audit_folder(ward.folder / "coordinator/transcript", ward.charter).findings
    assert finding.reason == "missing-round"
    assert finding.message.startswith(
        f"Rounds {left_out} are in no epoch of the transcript. h2 had signed that it masked or paid for round "
        "4294967295. An honest coordinator leaves out up to three rounds on such a word"
    )


def test_nor_does_it_cost_the_others_a_round_or_a_set_up(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    coordinator = ward.coordinator(engine=led_by_the_second(ward))
    coordinator.run()
    assert {len(rounds) for rounds in rounds_paid_for(ward).values()} == {3}
    assert coordinator._store.state.epoch == 2


def test_and_by_a_coordinator_that_lost_its_folder_for_three_rounds_in_each_epoch_at_most(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=6)))
    ward.stop_before(Phase.MASK, 4)
    shutil.rmtree(ward.folder / "coordinator")
    newest_round, newest_epoch = 3, 2
    coordinator = ward.coordinator(engine=led_by_the_second(ward))
    release = verified_statement(ward, coordinator.run())
    assert [record.round for record in coordinator.rounds] == [10, 11, 12]
    assert release.rounds == newest_round + 3 * newest_epoch + 3
    assert_all_have_one_model(ward, 6)


def test_control_one_that_believes_it_without_bound_has_no_number_left(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    coordinator = ward.coordinator(engine=led_by_the_second(ward))
    coordinator._store.update(forgotten=2**32 - 1)
    with pytest.raises(ProtocolError) as caught:
        coordinator.run()
    assert caught.value.reason == "too-few-advertised"


def test_after_all_have_attested_no_single_hospital_can_make_it_ask_for_another_number(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.RELEASE, 0)
    shutil.rmtree(ward.folder / "coordinator")
    assert verified_statement(ward, ward.coordinator(engine=led_by_the_second(ward)).run()).rounds == 3


def test_so_does_one_whose_folder_was_put_back_and_whoever_missed_later_sums_only_is_given_them(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=5)), hospitals=5)
    ward.stop_before(Phase.MASK, 2)
    shutil.copytree(ward.folder / "coordinator", ward.folder / "yesterday")
    ward.stop_before(Phase.MASK, 4)
    shutil.rmtree(ward.folder / "coordinator")
    (ward.folder / "yesterday").rename(ward.folder / "coordinator")
    present = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StoppingEngine(present, Phase.CONCLUDE, 0)).run()
    assert ward.sums == [5, 5, 5, 5, 2]
    assert verified_statement(ward, ward.coordinator().run()).sums == 5
    assert_all_have_one_model(ward, 5)


def test_one_whose_folder_is_gone_has_no_sum_for_who_missed_it_and_sends_none_that_does_not_follow(open_ward):
    ward = open_ward(hospitals=5)
    present = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StoppingEngine(present, Phase.MASK, 2)).run()
    shutil.rmtree(ward.folder / "coordinator")
    assert verified_statement(ward, ward.coordinator().run()).sums == 3
    assert ward.sums == [3, 3, 3, 3, 0]


@pytest.fixture
def five_lacks_three_sums(open_ward, monkeypatch):
    """Each of them is a parcel of its own: of a large model they are."""
    monkeypatch.setattr("training.sum_relay.parcels", partial(parcels, most=1))
    ward = open_ward(choices=choices_of(training_of(rounds=4)), hospitals=5)
    present = {number: hospital for number, hospital in ward.hospitals.items() if number != 5}
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StoppingEngine(present, Phase.MASK, 4)).run()
    return ward


def given_to_the_fifth(engine):
    """How often it was asked where it is, and how many of the sums it was sent."""
    stages = [peek(message).stage for _, _, member, message in engine.sent if member == 5]
    return stages.count(Stage.QUERY), stages.count(Stage.MISSED_SUM)


@dataclass
class TakesNothingMissed:
    hospital: Hospital

    def receive(self, message):
        return [] if peek(message).stage is Stage.MISSED_SUM else self.hospital.receive(message)


@pytest.mark.parametrize("it", ["is cut off", "answers nothing"])
def test_who_lost_a_sum_that_it_missed_is_sent_none_that_follows_it(five_lacks_three_sums, it):
    """It could not take them, and each may keep all others waiting for a whole deadline."""
    ward = five_lacks_three_sums
    if it == "is cut off":
        engine = RecordingEngine(ward.hospitals, [DropOut(5, 0, Phase.CATCH_UP)])
    else:
        engine = RecordingEngine(ward.hospitals | {5: TakesNothingMissed(ward.hospitals[5])})
    ward.coordinator(engine=engine).run()
    asked, given = given_to_the_fifth(engine)
    assert given == asked > 0
    assert ward.sums == [4, 4, 4, 4, 0]


def test_control_who_takes_each_is_sent_them_all(five_lacks_three_sums):
    engine = RecordingEngine(five_lacks_three_sums.hospitals)
    five_lacks_three_sums.coordinator(engine=engine).run()
    assert given_to_the_fifth(engine)[1] == 3
    assert_all_have_one_model(five_lacks_three_sums, 4)


def test_what_was_half_written_when_it_was_killed_is_removed_by_the_next_coordinator_and_by_nobody_who_reads(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    folder = ward.folder / "coordinator"
    left = [folder / ".coordinator.json.ab_d3fgh.partial", folder / "sums" / ".training-000002.bin.ab_d3fgh.partial"]
    for file in left:
        file.touch()
    CoordinatorStore(folder, ward.charter.digest)
    assert all(file.exists() for file in left)
    ward.coordinator()
    assert not any(file.exists() for file in left)
    assert (folder / "sums" / "training-000001.bin").exists()


def test_a_damaged_coordinator_state_is_refused(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    for damage in (b"{", b'{"charter": "\xff"}', b'{"charter": "00", "epoch": "1"}'):
        (ward.folder / "coordinator/coordinator.json").write_bytes(damage)
        with pytest.raises(TamperingError) as caught:
            ward.coordinator()
        assert caught.value.reason == "damaged-coordinator-state"
        assert "Put back a copy" in caught.value.remedy


def test_a_state_of_an_earlier_version_is_read_whichever_sums_it_names(open_ward):
    """It named those that it kept, and was wrong where it was put back: the folder says which there are."""
    ward = open_ward()
    ward.stop_before(Phase.MASK, 3)
    path = ward.folder / "coordinator/coordinator.json"
    earlier = path.read_bytes().replace(b'"asked"', b'"statistics":[],"sums":["training-000001.bin"],"asked"')
    path.write_bytes(earlier)
    coordinator = ward.coordinator()
    assert coordinator.sums == 2
    assert verified_statement(ward, coordinator.run()).rounds == 4
    assert not msgspec.json.decode(path.read_bytes()).keys() & {"statistics", "sums"}


@pytest.mark.parametrize(
    "name", ["training-0000002.bin", "training-2.bin", "training-000000.bin", "training-00000b.bin"]
)
def test_only_what_is_called_as_it_calls_sums_counts_as_one(open_ward, name):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    (ward.folder / "coordinator/sums" / name).touch()
    store = CoordinatorStore(ward.folder / "coordinator", ward.charter.digest)
    assert store.reached == Reached(0, 1)
    assert store.sums_after(Purpose.TRAINING, 0) == ("training-000001.bin",)


def test_another_charters_coordinator_state_is_refused(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    with pytest.raises(TamperingError) as caught:
        CoordinatorStore(ward.folder / "coordinator", bytes(32))
    assert caught.value.reason == "other-charter"


# Rounds that could give no sum are not begun: every other hospital would pay for each


@pytest.fixture
def three_who_pay(open_ward):
    """With three hospitals, every sum needs all."""
    choices = msgspec.structs.replace(PRIVATE_CHOICES, epoch_rounds=3)
    return open_ward(3, choices=choices, spec=PRIVATE_TASK, policy=with_much_to_spend)


def cannot_keep_its_key(ward, number):
    def full(_):
        raise InputError("unwritable", "The disk is full.")

    ward.hospitals[number]._save = full


def test_where_too_few_finish_a_set_up_no_round_is_begun(three_who_pay):
    ward = three_who_pay
    coordinator = ward.coordinator(DropOut(3, 0, Phase.READY))
    with pytest.raises(ProtocolError) as caught:
        coordinator.run()
    assert (caught.value.reason, caught.value.exit_code) == ("too-few-ready", 1)
    assert caught.value.remedy.startswith("Go on with the run once enough")
    assert coordinator.rounds == ()
    assert verified_statement(ward, ward.coordinator().run()).rounds == 3
    assert rounds_paid_for(ward) == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1, 2, 3]}
    assert audited(ward) == []


def test_nor_where_one_of_them_says_that_it_cannot_take_part(three_who_pay):
    cannot_keep_its_key(three_who_pay, 3)
    with pytest.raises(ProtocolError) as caught:
        three_who_pay.coordinator().run()
    assert caught.value.reason == "too-few-ready"
    assert "h3 refused (unwritable): This hospital's own log says why." in caught.value.message
    assert caught.value.remedy.startswith("Waiting does not help")
    assert rounds_paid_for(three_who_pay) == {1: [], 2: [], 3: []}


@pytest.mark.parametrize("why", ["is cut off", "refuses"])
def test_control_with_enough_others_the_run_goes_on_without_it(open_ward, why):
    ward = open_ward(choices=choices_of(training_of(rounds=2)))
    if why == "refuses":
        cannot_keep_its_key(ward, 4)
    away = [DropOut(4, 0, Phase.READY)] if why == "is cut off" else []
    coordinator = ward.coordinator(*away, *[DropOut(4, number, Phase.APPLY) for number in (1, 2)])
    assert verified_statement(ward, coordinator.run()).sums == 2
    assert [record.survivors for record in coordinator.rounds] == [("h1", "h2", "h3")] * 2


GONE_AFTER_ONE_SUM = [DropOut(3, number, Phase.MASK) for number in (2, 3)]


def test_an_epoch_is_left_after_a_round_that_too_few_masked(three_who_pay):
    """Whoever's process has ended is in none of its rounds any more."""
    ward = three_who_pay
    coordinator = ward.coordinator(*GONE_AFTER_ONE_SUM)
    assert coordinator.run_epoch() is None
    assert [record.step for record in coordinator.rounds] == [1, 0]
    assert rounds_paid_for(ward) == {1: [1, 2], 2: [1, 2], 3: [1]}
    assert verified_statement(ward, ward.coordinator().run()).rounds == 4
    assert audited(ward) == []


def test_control_within_that_epoch_the_others_pay_for_each_of_its_rounds(three_who_pay, monkeypatch):
    monkeypatch.setattr(Coordinator, "_is_better_left", lambda *_: False)
    three_who_pay.coordinator(*GONE_AFTER_ONE_SUM).run_epoch()
    assert rounds_paid_for(three_who_pay) == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1]}


class StopsAfterRound(EmbeddedEngine):
    """Stops at the first message after a round is on record, and says in which phase that was."""

    def __init__(self, ward, drop_outs):
        super().__init__(ward.hospitals, drop_outs)
        self.is_over = False

    def exchange(self, phase, outbox, round_number):
        if self.is_over:
            raise StoppedHereError([(0, phase)])
        return super().exchange(phase, outbox, round_number)


@pytest.mark.parametrize(("complete", "phase"), [(True, Phase.QUERY), (False, Phase.MASK)])
def test_among_neighbours_it_is_not_left_where_shares_of_the_step_were_asked_for(
    open_ward, monkeypatch, complete, phase
):
    """Then that sum can be made in this epoch or not at all."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4), epoch_rounds=4))
    engine = StopsAfterRound(ward, [*SHARES_GIVEN_AND_NO_SUM, DropOut(1, 3, Phase.MASK)])

    def stop_after_the_third(record):
        engine.is_over = record.round == 3
        if engine.is_over:
            assert record.reason == "too-few-masked"
            monkeypatch.setattr(Session, "complete", complete)

    with pytest.raises(StoppedHereError) as stopped:
        ward.coordinator(engine=engine, on_round=stop_after_the_third).run()
    assert stopped.value.outbox[0] is phase


def test_where_too_few_have_taken_a_sum_they_are_given_it_before_the_next_round(three_who_pay):
    coordinator = three_who_pay.coordinator(DropOut(3, 1, Phase.APPLY))
    coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 2, 3]
    assert rounds_paid_for(three_who_pay) == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1, 2, 3]}
    assert_all_have_one_model(three_who_pay, 3)


def test_control_only_once_it_has_said_that_it_lacks_one_the_others_have_paid_for_nothing(three_who_pay, monkeypatch):
    monkeypatch.setattr(Coordinator, "_lack_sums", lambda *_: False)
    three_who_pay.coordinator(DropOut(3, 1, Phase.APPLY)).run()
    assert rounds_paid_for(three_who_pay) == {1: [1, 2, 3, 4], 2: [1, 2, 3, 4], 3: [1, 3, 4]}


def test_so_they_are_where_one_more_was_there_that_never_finished_the_set_up(open_ward):
    ward = open_ward(choices=choices_of(epoch_rounds=3))
    coordinator = ward.coordinator(DropOut(4, 0, Phase.READY), DropOut(3, 1, Phase.APPLY))
    coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 2, 3]


def test_where_they_cannot_be_reached_then_the_epoch_is_left(three_who_pay):
    ward = three_who_pay
    gone = [DropOut(3, 1, Phase.APPLY), DropOut(3, 0, Phase.QUERY)]
    assert ward.coordinator(*gone).run_epoch() is None
    assert rounds_paid_for(ward) == {1: [1], 2: [1], 3: [1]}
    assert verified_statement(ward, ward.coordinator().run()).rounds == 3


def test_control_if_it_went_on_all_the_same_the_others_would_pay_in_vain(three_who_pay, monkeypatch):
    monkeypatch.setattr(Coordinator, "_up_to_date", lambda *_: frozenset({1, 2, 3}))
    gone = [DropOut(3, 1, Phase.APPLY), DropOut(3, 0, Phase.QUERY)]
    three_who_pay.coordinator(*gone).run_epoch()
    assert rounds_paid_for(three_who_pay) == {1: [1, 2], 2: [1, 2], 3: [1]}


@pytest.fixture
def third_lacks_a_lost_sum(open_ward):
    """It was cut off as the second sum was given out, and the coordinator's folder was put back from before that."""
    choices = msgspec.structs.replace(PRIVATE_CHOICES, epoch_rounds=1)
    ward = open_ward(3, choices=choices, spec=PRIVATE_TASK, policy=with_much_to_spend)
    folder, copy = ward.folder / "coordinator", ward.folder / "copy"
    ward.coordinator().run_epoch()
    shutil.copytree(folder, copy)
    ward.coordinator(DropOut(3, 2, Phase.APPLY), DropOut(3, 0, Phase.CATCH_UP)).run_epoch()
    folder.rename(ward.folder / "newer")
    copy.rename(folder)
    assert ward.sums == [2, 2, 1]
    return ward


def test_while_too_many_lack_a_sum_that_cannot_be_given_them_no_round_is_begun(third_lacks_a_lost_sum):
    ward = third_lacks_a_lost_sum
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            ward.coordinator().run()
        assert (caught.value.reason, caught.value.exit_code) == ("too-few-up-to-date", 1)
        assert "h3 has 1 of 2 sums" in caught.value.message
        assert "put back what a newer copy of it has in sums/" in caught.value.remedy
    assert rounds_paid_for(ward) == {1: [1, 2], 2: [1, 2], 3: [1, 2]}


def test_and_once_it_is_back_the_run_goes_on(third_lacks_a_lost_sum):
    ward = third_lacks_a_lost_sum
    shutil.copytree(ward.folder / "newer/sums", ward.folder / "coordinator/sums", dirs_exist_ok=True)
    assert verified_statement(ward, ward.coordinator().run()).rounds == 3
    assert_all_have_one_model(ward, 3)


def cannot_take_the_second_sum(ward, number):
    save = ward.hospitals[number]._save

    def full(state):
        if state.sums > 1:
            raise InputError("unwritable", "The disk is full.")
        save(state)

    ward.hospitals[number]._save = full


@pytest.mark.parametrize("scheme", ["mask", "bfv"])
def test_where_a_hospital_does_not_take_what_it_is_offered_its_refusal_is_told_and_no_folder_is_blamed(
    open_ward, scheme
):
    ward = open_ward(3, choices=choices_of(scheme=scheme, epoch_rounds=1))
    ward.coordinator().run_epoch()
    cannot_take_the_second_sum(ward, 3)
    ward.coordinator().run_epoch()
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator().run()
    assert caught.value.reason == "too-few-up-to-date"
    assert "h3 has 1 of 2 sums. h3 refused (unwritable): This hospital's own log says why." in caught.value.message
    assert "sums/" not in caught.value.remedy


def test_control_a_coordinator_that_begins_one_all_the_same_has_the_others_pay_in_each_epoch(
    third_lacks_a_lost_sum, monkeypatch
):
    monkeypatch.setattr(Coordinator, "_require_enough_up_to_date", lambda *_: None)
    for _ in range(2):
        third_lacks_a_lost_sum.coordinator().run_epoch()
    assert {number: len(rounds) for number, rounds in rounds_paid_for(third_lacks_a_lost_sum).items()} == {
        1: 4,
        2: 4,
        3: 2,
    }
    assert third_lacks_a_lost_sum.sums == [2, 2, 1]


def saying_that_it_has_no_sum(status):
    return msgspec.structs.replace(status, steps=0)


def test_one_hospital_that_says_falsely_that_it_lacks_sums_stops_no_other(open_ward):
    ward = open_ward()
    coordinator = ward.coordinator(engine=EmbeddedEngine(with_liars(ward, (2,), saying_that_it_has_no_sum)))
    assert coordinator.run_epoch() is None
    assert verified_statement(ward, coordinator.run()).sums == 3


# The release


def test_who_has_attested_is_asked_for_the_same_again_whatever_was_begun_in_vain_since(open_ward):
    """It attests to no other number of rounds; with another there could never be a release."""
    ward = open_ward(hospitals=5)
    without_five = DropOut(5, 0, Phase.CONCLUDE)
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(without_five).run()
    assert caught.value.reason == "release-incomplete"
    coordinator = ward.coordinator()
    coordinator._store.update(round=coordinator._store.state.round + 3)
    (ward.folder / "coordinator/rounds.jsonl").unlink()
    release = verified_statement(ward, ward.coordinator().run())
    assert (release.sums, release.rounds) == (3, 3)


def test_nothing_is_begun_while_too_few_of_those_who_have_finished_can_be_reached(open_ward):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.CONCLUDE, 0)
    few = {number: hospital for number, hospital in ward.hospitals.items() if number <= 3}
    assert ward.charter.charter.max_colluding < 3 < ward.charter.charter.threshold
    before = ward.coordinator()._store.state
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=EmbeddedEngine(few)).run()
    assert caught.value.reason == "too-few-finished"
    assert ward.coordinator()._store.state == before
    assert verified_statement(ward, ward.coordinator().run()).rounds == 3


def test_hospitals_that_are_at_different_models_are_not_given_a_release(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.CONCLUDE, 0)
    hospital = ward.hospitals[2]
    hospital._state = replace(hospital.state, model=hospital.state.model + 1)
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator().run()
    assert caught.value.reason == "release-incomplete"
    assert "h2: It has other sums than the others, and is not asked to sign." in caught.value.message


def test_a_release_without_a_contributors_valid_signature_is_not_made(open_ward):
    ward = open_ward()

    class Forging(EmbeddedEngine):
        def exchange(self, phase, outbox, round_number):
            exchange = super().exchange(phase, outbox, round_number)
            if phase is not Phase.CONCLUDE:
                return exchange
            inbox = dict(exchange.inbox)
            identity = ward.hospitals[2]._identity
            own = msgspec.msgpack.decode(msgspec.msgpack.decode(inbox[2])[2], type=Attest)
            forged = Attest(own.statement, bytes(64))
            inbox[2] = Sealer(ward.charter, 2, identity, 1).seal(Stage.ATTEST, forged)
            return Exchange(tuple(inbox.items()), exchange.dropped)

    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=Forging(ward.hospitals)).run()
    assert (caught.value.reason, caught.value.exit_code) == ("release-incomplete", 1)
    assert "h2 contributed" in caught.value.message
    assert not ward.hospitals[1].release_folder.exists()


def test_a_contributor_that_cannot_be_reached_at_the_end_can_sign_later(open_ward):
    ward = open_ward()
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(DropOut(3, 0, Phase.CONCLUDE)).run()
    assert caught.value.reason == "release-incomplete"
    assert verified_statement(ward, ward.coordinator().run()).sums == 3


def test_limit_one_past_contributor_that_is_gone_for_good_keeps_all_others_from_a_release(open_ward):
    """It takes one, and no lie: what others have signed without it is a release to nobody."""
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.CONCLUDE, 0)
    staying = {number: hospital for number, hospital in ward.hospitals.items() if number != 3}
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            ward.coordinator(engine=EmbeddedEngine(staying)).run()
        assert caught.value.reason == "release-incomplete"
        assert "h3 contributed but did not sign the release." in caught.value.message
    assert not any(hospital.release_folder.exists() for hospital in staying.values())


def test_a_contributor_that_has_lost_all_but_its_key_catches_up_and_signs(open_ward):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.CONCLUDE, 0)
    home, kept = ward.home(3), {ward.home(3).identity, ward.home(3).policy}
    ward.hospitals.pop(3).close()
    for path in set(home.identity.parent.iterdir()) - kept:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ward.close()
    with Ward.open(ward.folder) as again:
        assert [entry.sums for entry in verified_statement(again, again.coordinator().run()).contributors] == [3] * 5
        assert again.hospitals[3].release_folder.exists()


def test_a_stopping_engine_stops_where_it_should(open_ward):
    """The support code's own check: nothing of the phase that it stops at is delivered."""
    ward = open_ward()
    engine = StoppingEngine(ward.hospitals, Phase.MASK, 1)
    with pytest.raises(StoppedHereError) as stopped:
        ward.coordinator(engine=engine).run()
    assert sorted(stopped.value.outbox) == [1, 2, 3, 4]
    assert ward.sums == [0, 0, 0, 0]


def test_an_event_that_a_killed_coordinator_could_not_finish_writing_does_not_damage_the_transcript(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    folder = ward.folder / "coordinator/transcript"
    with (folder / "epoch-000001.transcript").open("ab") as file:
        file.write((1000).to_bytes(8, "big") + bytes(10))
    assert [finding.reason for finding in audit_folder(folder, ward.charter).findings] == ["transcript-damaged"]
    ward.coordinator().run()
    assert len(transcript_files(folder)) > 2
    assert audit_folder(folder, ward.charter).findings == ()
