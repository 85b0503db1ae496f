"""One hospital: what it refuses, what it pays for, and that all of them end with the same model."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file
from torch import nn

from dp.events import GaussianEvent
from dp.ledger import Budget, Cost, Kind
from dp.ledger.entries import LEDGER
from dp.ledger.spending import costs_epsilon
from dp.plan import PrivacyPlan
from secagg.charter import Encoding, Statistics, sign_charter
from secagg.charter.folder import read_charter, write_charter, write_signatures
from secagg.egress import Direction, read_egress
from secagg.errors import InputError, RefusedError, RemoteProtocolError, TamperingError
from secagg.identity import Identity
from secagg.latch import read_logs
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session
from secagg.masking.messages import Abort, Begin, Open, Refusal
from secagg.release.dsse import assemble, attest, read_envelope
from secagg.release.folder import read_release
from secagg.release.statement import read_statement, statement_bytes
from secagg.signed_log import read_log
from secagg.wire import Stage
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import (
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    RecordingEngine,
    Ward,
    choices_of,
    settings_for,
    tabular_spec,
    training_of,
    write_tables,
)
from tests.support.replies import read, refusal, stages, status, sum_with_a_traitor
from training.concluding import Concluding
from training.contributing import Contributor
from training.coordinator import Coordinator
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.hospital_budget import HospitalBudget
from training.hospital_state import HospitalState, load_state
from training.messages import Attest, Conclude, Query, Release
from training.privacy_plan import privacy_plan
from training.simulation_folder import prepare

DISTRIBUTED_CHOICES = choices_of(
    training_of(local_steps=1), privacy="distributed", epsilon=8.0, sampling_rate=0.5, expected_batch=30
)


def ledger_of(ward, number):
    home = ward.home(number)
    return read_log(home.ledger, Identity.load(home.identity).public_key, LEDGER)


def charged_rounds(ward, number):
    return [entry.round for entry in ledger_of(ward, number) if entry.kind is Kind.CHARGE]


def conclude(ward, number, rounds):
    return ward.hospitals[number].receive(ward.forge(Stage.CONCLUDE, Conclude(rounds)))


OTHERS = [2, 3, 4]
"""Than the first: it has not masked in a round that never began."""


@pytest.fixture
def finished(open_ward):
    """Four hospitals that have every sum, without differential privacy."""
    ward = open_ward()
    ward.coordinator().run()
    return ward


@pytest.fixture
def private(open_ward):
    """Four hospitals about to train with differential privacy, with budget for a round or two more."""
    return open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=larger_budget)


def larger_budget(policy):
    return msgspec.structs.replace(policy, maximum_epsilon=12.0)


# What is checked before anything is sent


def test_a_task_that_builds_another_model_than_the_charters_is_refused(open_ward, monkeypatch):
    open_ward().close()
    monkeypatch.setattr("training.hospital.flatten", lambda module: np.ones(6, np.float32))
    with pytest.raises(InputError) as caught:
        open_ward()
    assert caught.value.reason == "other-model"


def test_a_charter_that_the_sites_policy_does_not_allow_is_refused(open_ward):
    def strict(policy):
        return msgspec.structs.replace(policy, allowed_privacy_modes=frozenset({"local"}))

    with pytest.raises(RefusedError) as caught:
        open_ward(policy=strict)
    assert caught.value.reason == "privacy-mode-not-allowed"


def test_without_a_policy_file_the_strict_defaults_are_in_force(open_ward, tmp_path):
    open_ward().close()
    next((tmp_path / "run").glob("hospitals/*/policy.toml")).unlink()
    with pytest.raises(RefusedError) as caught:
        open_ward()
    assert caught.value.reason == "unknown-member"


def test_a_charter_whose_rounds_cost_more_than_it_says_starts_nowhere(open_ward, monkeypatch):
    open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK).close()
    # As if it had been drafted by who counts less.
    monkeypatch.setattr("training.privacy_plan.is_covered", lambda cost, stated: cost <= stated - 1)
    with pytest.raises(InputError) as caught:
        open_ward()
    assert caught.value.reason == "budget-understated"


def changed_and_signed_by_all(run, change):
    """As by who writes a charter by hand."""
    charter = change(read_charter(run / "charter"))
    keys = [Identity.load(run / f"hospitals/{member.name}/identity.pem") for member in charter.members]
    write_charter(run / "charter", charter)
    write_signatures(run / "charter", tuple(sign_charter(charter, key) for key in keys))


def of_any_weight(policy):
    return msgspec.structs.replace(policy, maximum_weight=1 << 20)


@pytest.mark.parametrize("choices", [None, PRIVATE_CHOICES], ids=["none", "local"])
def test_a_charter_whose_weights_have_no_room_starts_nowhere_and_nothing_is_charged(open_ward, tmp_path, choices):
    open_ward(choices=choices, spec=PRIVATE_TASK if choices else None).close()
    run = tmp_path / "run"
    before = {path: path.read_bytes() for path in run.glob("hospitals/*/ledger.sqlite")}
    changed_and_signed_by_all(
        run, lambda charter: msgspec.structs.replace(charter, encoding=Encoding(field_bits=16, max_weight=1 << 20))
    )
    with pytest.raises(InputError) as caught:
        open_ward(policy=of_any_weight)
    assert (caught.value.reason, caught.value.culprit) == ("field-too-narrow", "weight")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("data", "features"), [({}, 3), (SCALED_BY_SUMS, 0), (SCALED_BY_SUMS, 9)], ids=["not asked for", "none", "more"]
)
def test_a_charter_that_sums_statistics_of_other_features_than_its_task_has_starts_nowhere(
    open_ward, tmp_path, data, features
):
    open_ward(spec=tabular_spec(**data)).close()
    changed_and_signed_by_all(
        tmp_path / "run",
        lambda charter: msgspec.structs.replace(charter, statistics=Statistics(features=features)),
    )
    with pytest.raises(InputError) as caught:
        open_ward()
    assert (caught.value.reason, caught.value.culprit) == ("other-task", "statistics.features")


def test_a_hospital_that_draws_other_noise_than_who_drafted_the_charter_does_not_start(open_ward, monkeypatch):
    choices = msgspec.structs.replace(DISTRIBUTED_CHOICES, noise_levels=(4,))
    open_ward(choices=choices, spec=PRIVATE_TASK).close()
    monkeypatch.setattr("training.noise._TAGS", b"noise tag of another release")
    with pytest.raises(InputError) as caught:
        open_ward()
    assert caught.value.reason == "other-noise"


def test_an_identity_that_is_no_members_is_refused_and_the_files_are_free_again(open_ward, tmp_path):
    open_ward().close()
    stranger = tmp_path / "run/hospitals/h1/identity.pem"
    own = stranger.read_bytes()
    stranger.unlink()
    Identity.from_seed(bytes(32)).save(stranger)
    with pytest.raises(InputError) as caught:
        open_ward()
    assert caught.value.reason == "unknown-member"
    stranger.write_bytes(own)
    open_ward()


@pytest.fixture
def shared_site(tmp_path):
    """Two runs of the same hospitals on the same data, each of which alone fits the budget."""
    tables = write_tables(tmp_path / "data", 4)
    for name in ("first", "second"):
        at = str(tmp_path / "hospitals")
        prepare(tmp_path / name, settings_for(tables, PRIVATE_CHOICES, PRIVATE_TASK, hospitals_at=at))
    return tmp_path


def test_data_that_another_run_has_spent_stops_a_run_before_it_starts(shared_site):
    with Ward.open(shared_site / "first") as ward:
        ward.coordinator().run()
    with pytest.raises(RefusedError) as caught:
        Ward.open(shared_site / "second")
    assert (caught.value.reason, caught.value.exit_code) == ("budget-exceeded", 3)


def test_a_refused_hospital_lets_go_of_its_files(shared_site):
    with Ward.open(shared_site / "first") as ward:
        ward.coordinator().run()
    for _ in range(2):
        with pytest.raises(RefusedError) as caught:
            Ward.open(shared_site / "second")
        assert caught.value.reason == "budget-exceeded"


def test_control_either_run_alone_fits_the_budget(shared_site):
    with Ward.open(shared_site / "second") as ward:
        ward.coordinator().run()
        assert ward.sums == [3, 3, 3, 3]


# The model


def test_all_hospitals_end_with_the_same_model_and_say_so(open_ward):
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    ward.coordinator().run()
    assert ward.sums == [3, 3, 3, 3]
    assert len(ward.models) == 1
    assert len({status(ward, number).state_digest for number in ward.hospitals}) == 1


def test_a_hospital_that_missed_a_sum_refuses_the_next_round_and_takes_part_again_once_it_was_sent(open_ward):
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4)))
    engine = RecordingEngine(ward.hospitals, [DropOut(2, 1, Phase.APPLY)])
    coordinator = ward.coordinator(engine=engine)
    coordinator.run()
    assert ("h2", "missed-sum") in ward.refused
    assert "h2" not in coordinator.rounds[1].survivors
    assert any(stage is Stage.MISSED_SUM for stage in [peek(m).stage for _, _, to, m in engine.sent if to == 2])
    assert "h2" in coordinator.rounds[2].survivors
    assert len(ward.models) == 1


def test_a_sum_of_another_step_is_refused_and_changes_nothing(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.APPLY, 1)
    before = ward.models
    assert refusal(ward, ward.hospitals[1].receive(sum_with_a_traitor(ward, step=2))) == "step-changed"
    assert (ward.models, ward.sums) == (before, [0, 0, 0, 0])


def test_a_sum_in_which_nobody_weighs_anything_counts_and_changes_no_model_and_it_is_said(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.APPLY, 1)
    before = ward.models
    assert ward.hospitals[1].receive(sum_with_a_traitor(ward, step=1, weight=0)) == []
    assert (ward.models, ward.sums) == (before, [1, 0, 0, 0])
    assert ("h1", "no-weight") in ward.cautions


def test_a_round_of_another_step_is_refused_before_training(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 1)
    begin = ward.forge(Stage.BEGIN, Begin(2), epoch=1, round_number=1)
    assert refusal(ward, ward.hospitals[1].receive(begin)) == "missed-sum"


def test_a_hospital_that_has_every_sum_refuses_another_round(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=3), epoch_rounds=3))
    ward.stop_before(Phase.CONCLUDE, 0)
    open_epoch = ward.forge(Stage.OPEN, Open(Purpose.TRAINING, 4, 1), epoch=2)
    assert stages(ward.hospitals[1].receive(open_epoch)) == [Stage.ADVERTISE]
    replies = run_one_more_round(ward)
    assert {refusal(ward, [reply]) for reply in replies} == {"finished"}


def run_one_more_round(ward):
    """A coordinator that does not stop: a newer epoch, and one round after the last. What the hospitals answer."""
    session = Session(ward.charter, 3, Purpose.TRAINING, 4, 1)
    server = MaskingServer(session)
    engine = EmbeddedEngine(ward.hospitals)
    outbox = server.open()
    for _ in range(3):
        exchange = engine.exchange(Phase.READY, outbox, 0)
        outbox = [message for sender, reply in exchange.inbox for message in server.receive(sender, reply)]
    return [reply for _, reply in engine.exchange(Phase.MASK, server.begin(4), 4).inbox]


def test_a_hospital_that_has_every_sum_takes_no_other(finished):
    before = finished.models
    message = sum_with_a_traitor(finished, step=4, stage=Stage.MISSED_SUM, round_number=4, of=OTHERS)
    assert refusal(finished, finished.hospitals[1].receive(message)) == "finished"
    assert finished.models == before


def test_control_the_same_sum_is_taken_where_it_is_due(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 3)
    before = ward.models
    message = sum_with_a_traitor(ward, step=3, stage=Stage.MISSED_SUM, round_number=3, of=OTHERS)
    assert stages(ward.hospitals[1].receive(message)) == [Stage.STATUS]
    assert ward.sums == [3, 2, 2, 2]
    assert before <= ward.models


@pytest.mark.parametrize("round_number", [1, 2])
def test_a_sum_of_no_later_round_than_the_last_is_refused_though_its_tag_fits(open_ward, round_number):
    """The attack: a forged sum in the number of another round, so that a log holds a true sum of that round too."""
    ward = open_ward()
    ward.stop_before(Phase.MASK, 3)
    message = sum_with_a_traitor(ward, step=3, stage=Stage.MISSED_SUM, round_number=round_number)
    assert refusal(ward, ward.hospitals[1].receive(message)) == "stale-round"
    assert ward.sums == [2, 2, 2, 2]


# Statistics


def test_statistics_that_the_charter_does_not_ask_for_are_refused(open_ward):
    ward = open_ward(spec=tabular_spec())
    engine = asking_for_statistics(ward)
    with pytest.raises(RemoteProtocolError):
        engine()
    assert {reason for _, reason in ward.refused} == {"no-statistics"}


def asking_for_statistics(ward, step=1, first_round=1, epoch=1):
    def ask():
        server = MaskingServer(Session(ward.charter, epoch, Purpose.STATISTICS, first_round, 1))
        engine = EmbeddedEngine(ward.hospitals)
        outbox = server.open()
        for _ in range(3):
            exchange = engine.exchange(Phase.READY, outbox, 0)
            outbox = [message for sender, reply in exchange.inbox for message in server.receive(sender, reply)]
        replies = engine.exchange(Phase.MASK, server.begin(step), 1).inbox
        refused = [reply for _, reply in replies if peek(reply).stage is Stage.REFUSAL]
        if refused:
            raise RemoteProtocolError(refusal(ward, refused[:1]), "refused")
        return replies

    return ask


@pytest.mark.parametrize("step", [1, 2])
def test_a_second_sum_of_statistics_is_refused(open_ward, step):
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    ward.stop_before(Phase.MASK, 2)
    with pytest.raises(RemoteProtocolError) as caught:
        asking_for_statistics(ward, step=step, first_round=3, epoch=9)()
    assert caught.value.reason == "no-statistics"


# The budget


def test_a_round_is_charged_on_disk_before_its_masked_vector_exists(private, monkeypatch):
    begin = private.stop_before(Phase.MASK, 1)
    charged_when_masked = []
    mask = MaskingClient.mask

    def spy(client, *masked):
        charged_when_masked.append(charged_rounds(private, 1))
        return mask(client, *masked)

    monkeypatch.setattr(MaskingClient, "mask", spy)
    assert charged_rounds(private, 1) == []
    assert stages(private.hospitals[1].receive(begin[1])) == [Stage.MASKED]
    assert charged_when_masked == [[1]]


def test_a_round_without_a_sum_costs_as_much_as_one_with(private):
    coordinator = private.coordinator(*[DropOut(number, 2, Phase.REVEAL) for number in (1, 2)])
    coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 0, 2, 3]
    assert charged_rounds(private, 4) == [1, 2, 3, 4]
    plan = privacy_plan(private.charter.charter)
    assert private.hospitals[4].epsilon == plan.epsilon_after(4) > plan.epsilon_after(3)


def ample(policy):
    return msgspec.structs.replace(policy, maximum_epsilon=30.0)


def test_a_hospital_reserves_what_the_run_can_cost_and_pays_for_counts_by_the_sum_that_carries_them(open_ward):
    choices = msgspec.structs.replace(PRIVATE_CHOICES, metrics="noisy", metrics_every=2)
    ward = open_ward(choices=choices, spec=PRIVATE_TASK, policy=ample)
    # The first round gives no sum, so that rounds are numbered otherwise than sums from then on.
    ward.coordinator(*[DropOut(number, 1, Phase.REVEAL) for number in (1, 2)]).run()
    plan = privacy_plan(ward.charter.charter)
    reserved, *_ = ledger_of(ward, 4)
    assert (reserved.kind, reserved.round) == (Kind.RESERVE, 0)
    assert reserved.cost == Cost(plan.training_events(3), plan.metric_events(2))
    charged = [entry.cost for entry in ledger_of(ward, 4) if entry.kind is Kind.CHARGE]
    once, with_counts = Cost(plan.training_events(1)), Cost(plan.training_events(1), plan.metric_events(1))
    assert charged == [once, once, with_counts, with_counts]


def begun_anew_under_its_number(ward, monkeypatch):
    """A coordinator that lies about numbers: opens another epoch that begins with the first round."""
    monkeypatch.setattr(Coordinator, "_claimed", lambda coordinator, claims: 0)
    monkeypatch.setattr(Coordinator, "_go_beyond_the_furthest", lambda coordinator, statuses: None)
    monkeypatch.setattr(Coordinator, "_go_beyond_the_transcript", lambda coordinator: None)
    ward.coordinator()._store.update(round=0)
    return ward.stop_before(Phase.MASK, 1)


def paid_for_and_not_masked(ward):
    """The first round was paid for by hospital 1, and then its process was stopped."""
    begin = ward.stop_before(Phase.MASK, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Contributor, "update", stopped_here)
        with pytest.raises(KeyboardInterrupt):
            ward.hospitals[1].receive(begin[1])
    assert charged_rounds(ward, 1) == [1]


def stopped_here(*_):
    raise KeyboardInterrupt


def test_a_round_that_was_paid_for_and_not_masked_is_paid_for_in_no_other_epoch(private, monkeypatch):
    paid_for_and_not_masked(private)
    for _ in range(3):
        begin = begun_anew_under_its_number(private, monkeypatch)
        assert refusal(private, private.hospitals[1].receive(begin[1])) == "stale-round"
    assert charged_rounds(private, 1) == [1]


def test_control_a_hospital_that_looks_at_no_number_pays_in_each_epoch(private, monkeypatch):
    monkeypatch.setattr(HospitalBudget, "newest_round", 0)
    paid_for_and_not_masked(private)
    begin = begun_anew_under_its_number(private, monkeypatch)
    assert stages(private.hospitals[1].receive(begin[1])) == [Stage.MASKED]
    assert charged_rounds(private, 1) == [1, 1]


def test_where_no_budget_is_charged_a_round_counts_under_its_number_once_too(open_ward, monkeypatch):
    ward = open_ward()
    assert stages(ward.hospitals[1].receive(ward.stop_before(Phase.MASK, 1)[1])) == [Stage.MASKED]
    assert ward.hospitals[1]._budget.newest_round == 1


@pytest.mark.parametrize("change", ["a patient more", "other patients"])
def test_a_number_is_paid_for_once_also_where_the_file_has_changed_since(open_ward, tmp_path, monkeypatch, change):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    paid_for_and_not_masked(ward)
    ward.close()
    table = tmp_path / "data/h1.csv"
    table.write_text(CHANGED[change](table.read_text()))
    ward = open_ward()
    begin = begun_anew_under_its_number(ward, monkeypatch)
    assert refusal(ward, ward.hospitals[1].receive(begin[1])) == "stale-round"
    assert charged_rounds(ward, 1) == [1]


def test_a_run_that_does_not_go_on_gives_back_what_it_reserved_for_patients_who_have_paid_nothing(open_ward, tmp_path):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    paid_for_and_not_masked(ward)
    ward.close()
    table = tmp_path / "data/h1.csv"
    table.write_text(CHANGED["other patients"](table.read_text()))
    again = open_ward()
    assert again.hospitals[1].budget_use.epsilon > 7
    for hospital in again.hospitals.values():
        hospital.withdraw()
    assert again.hospitals[1].budget_use.epsilon == 0
    assert again.hospitals[2].budget_use.epsilon == 0


def test_a_run_gives_back_nothing_while_one_of_its_patients_has_paid(open_ward, tmp_path):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    paid_for_and_not_masked(ward)
    held = ward.hospitals[1].budget_use
    ward.hospitals[1].withdraw()
    assert ward.hospitals[1].budget_use == held


def test_one_patient_more_in_the_file_makes_no_round_of_this_run_forgotten(open_ward, tmp_path):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    with (tmp_path / "data" / "h1.csv").open("a") as file:
        file.write("0.5,0.5,1\n")
    ward = open_ward()
    ward.coordinator().run()
    plan = privacy_plan(ward.charter.charter)
    assert len({entry.data_set for entry in ledger_of(ward, 1) if entry.kind is Kind.CHARGE}) == 2
    assert len(charged_rounds(ward, 1)) == ward.hospitals[1]._budget.rounds_charged == 3
    assert ward.hospitals[1].epsilon == pytest.approx(plan.epsilon_after(3))


def test_a_spent_budget_refuses_the_round_and_nothing_leaves_and_nothing_more_is_charged(open_ward):
    # The noise was chosen so that three rounds cost almost exactly the budget; a fourth does not fit.
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    engine = RecordingEngine(ward.hospitals, [DropOut(number, 2, Phase.REVEAL) for number in (1, 2)])
    with pytest.raises(Exception, match="own log") as caught:
        ward.coordinator(engine=engine).run()
    assert caught.value.exit_code == 1
    assert charged_rounds(ward, 4) == [1, 2, 3]
    assert ("h4", "budget-exceeded") in ward.refused
    sent_after = [peek(message).stage for _, number, sender, message in engine.received if number > 3 and sender == 4]
    assert set(sent_after) == {Stage.REFUSAL}


def noted(ward, number):
    """How far the latch says that the ledger had come, and how far it has."""
    return read_logs(ward.home(number).latch)[LEDGER.reason], LEDGER.place(ledger_of(ward, number))


def test_a_reservation_and_the_end_of_a_run_are_noted_at_once_so_that_neither_can_be_taken_back_unseen(private):
    said, reserved = noted(private, 1)
    assert said == reserved
    assert reserved.entries == 1
    private.hospitals[1].withdraw()
    said, withdrawn = noted(private, 1)
    assert said == withdrawn
    assert withdrawn.entries == 2


def test_how_much_of_a_budget_is_used_is_told_at_the_largest_delta_that_anything_was_spent_at(private):
    hospital, spent = private.hospitals[1], Cost((GaussianEvent(2.0, 0.1, 50),))
    data_set, before = hospital._budget._data_set, hospital.budget_use.epsilon
    hospital._ledger.charge(data_set, "f" * 64, 1, spent, Budget(30.0, 1e-2), "")
    spending = hospital._ledger.spending(data_set)
    assert hospital.budget_use.epsilon == spending.epsilon(1e-2) < before < spending.epsilon(1e-5)


def test_a_run_has_cost_what_those_patients_have_paid_who_paid_most(open_ward, tmp_path):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    table = tmp_path / "data/h1.csv"
    table.write_text(CHANGED["other patients"](table.read_text()))
    ward = open_ward()
    ward.coordinator().run()
    assert len(charged_rounds(ward, 1)) == 3
    assert ward.hospitals[1].epsilon == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(2))


def test_the_budget_that_is_lacking_is_what_all_further_sums_and_their_counts_cost_with_what_was_paid(open_ward):
    ward = open_ward(choices=msgspec.structs.replace(PRIVATE_CHOICES, metrics="noisy"), spec=PRIVATE_TASK)
    hospital, plan = ward.hospitals[1], privacy_plan(ward.charter.charter)
    assert hospital.epsilon_lacking(0) is None
    paid_for_and_not_masked(ward)
    assert hospital.epsilon_lacking(0) == pytest.approx(plan.epsilon_after(4))
    assert hospital.epsilon_lacking(1) is None
    assert hospital.epsilon_lacking(3) is None


def in_other_units(paths, factor):
    for path in paths:
        header, *rows = path.read_text().splitlines()
        cells = [row.split(",") for row in rows]
        path.write_text("\n".join([header, *(f"{factor * float(a)},{b},{label}" for a, b, label in cells)]) + "\n")
    return paths


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
def test_a_column_is_scaled_by_the_pooled_mean_and_spread(tmp_path, unit):
    tables = in_other_units(write_tables(tmp_path / "data", 4), unit)
    prepare(tmp_path / "run", settings_for(tables, choices_of(), tabular_spec(0.0, **SCALED_BY_SUMS)))
    pooled = np.concatenate([np.loadtxt(path, delimiter=",", skiprows=1) for path in tables])[:, 0]
    with Ward.open(tmp_path / "run") as ward:
        ward.coordinator().run()
        scale = ward.hospitals[1].scaling.standardiser(ward.hospitals[1].state.moments)
    np.testing.assert_allclose(scale.mean[0], pooled.mean(), rtol=1e-6)
    np.testing.assert_allclose(scale.std[0], pooled.std(), rtol=1e-6)


@pytest.mark.parametrize(("unit", "reason"), [(1e18, "out-of-range"), (1e-13, "too-small")])
def test_a_column_that_no_sum_of_statistics_can_hold_is_named_before_the_run(tmp_path, unit, reason):
    tables = in_other_units(write_tables(tmp_path / "data", 4), unit)
    prepare(tmp_path / "run", settings_for(tables, choices_of(), tabular_spec(**SCALED_BY_SUMS)))
    with pytest.raises(InputError) as caught:
        Ward.open(tmp_path / "run")
    assert (caught.value.reason, caught.value.culprit) == (reason, "age")


def test_more_validation_patients_than_the_counts_have_room_for_do_not_start_a_run(open_ward, monkeypatch):
    monkeypatch.setattr("training.hospital_setup.most_counts", lambda _charter: 5)
    with pytest.raises(InputError) as caught:
        open_ward(choices=choices_of(metrics="exact"))
    assert (caught.value.reason, caught.value.culprit) == ("field-too-narrow", "encoding.field_bits")
    assert "for 5 of each" in caught.value.message


class Folded(nn.Module):
    """Takes each of a row's numbers for a row of its own, and the mean of what it makes of them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)
        nn.init.ones_(self.net.weight)
        nn.init.zeros_(self.net.bias)

    def forward(self, rows):
        return self.net(rows.reshape(-1, 1)).view(len(rows), -1, 1).mean(1)


@pytest.mark.parametrize("choices", [PRIVATE_CHOICES, DISTRIBUTED_CHOICES], ids=["local", "distributed"])
def test_a_model_without_a_gradient_for_each_row_does_not_start_and_nothing_is_charged(
    open_ward, monkeypatch, tmp_path, choices
):
    monkeypatch.setattr("training.tasks.tabular.TabularTask.build_model", lambda _task: Folded())
    with pytest.raises(InputError) as caught:
        open_ward(choices=choices, spec=PRIVATE_TASK)
    assert (caught.value.reason, caught.value.culprit) == ("not-private-model", "net.weight")
    assert not list(tmp_path.glob("run/hospitals/*/ledger*"))


def test_without_differential_privacy_such_a_model_is_trained(open_ward, monkeypatch):
    monkeypatch.setattr("training.tasks.tabular.TabularTask.build_model", lambda _task: Folded())
    ward = open_ward()
    ward.coordinator().run()
    assert len(ward.models) == 1


def test_without_differential_privacy_no_epsilon_is_claimed_and_every_round_is_noted(finished):
    assert finished.hospitals[1].epsilon is None
    noted = [(entry.kind, entry.round) for entry in ledger_of(finished, 1)]
    assert noted == [*((Kind.UNPROTECTED, number) for number in (1, 2, 3)), (Kind.CLOSE, 0)]


def test_the_release_states_the_epsilon_to_a_millionth_and_no_less_than_was_spent(private):
    statement = read_statement(read_envelope(private.coordinator().run()).payload)
    stated, spent = statement.predicate.privacy.epsilon, private.hospitals[1].epsilon
    assert stated == round(stated, 6)
    assert 0 <= stated - spent <= 1e-6


def test_hospitals_whose_processors_round_differently_sign_the_same_release(private, monkeypatch):
    """One's epsilon is off in the last places; the release, to the byte, is not."""
    exactly = private.hospitals[2]._attest

    def elsewhere(envelope):
        with monkeypatch.context() as patched:
            computed = PrivacyPlan.epsilon_after
            patched.setattr(PrivacyPlan, "epsilon_after", lambda *arguments: computed(*arguments) * (1 - 1e-14))
            return exactly(envelope)

    monkeypatch.setattr(private.hospitals[2], "_attest", elsewhere)
    assert len(read_envelope(private.coordinator().run()).signatures) == len(private.hospitals)


def test_the_release_frees_what_was_reserved_and_not_used(private):
    private.coordinator().run()
    assert ledger_of(private, 1)[-1].kind is Kind.CLOSE


# The release


def test_a_hospital_attests_only_when_it_has_every_sum(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 3)
    assert refusal(ward, conclude(ward, 1, 3)) == "not-finished"


@pytest.fixture
def paid_for_four(private):
    """Trained with differential privacy over four rounds, of which one gave no sum; not concluded."""
    drop_outs = [DropOut(number, 2, Phase.REVEAL) for number in (1, 2)]
    engine = RecordingEngine(private.hospitals, drop_outs)
    exchange = engine.exchange

    def until_the_end(phase, outbox, round_number):
        if phase is Phase.CONCLUDE:
            raise KeyboardInterrupt
        return exchange(phase, outbox, round_number)

    engine.exchange = until_the_end
    with pytest.raises(KeyboardInterrupt):
        private.coordinator(engine=engine).run()
    return private


def test_a_coordinator_that_states_fewer_rounds_than_were_paid_for_gets_no_attestation(paid_for_four):
    assert refusal(paid_for_four, conclude(paid_for_four, 4, 3)) == "understated-rounds"
    assert ledger_of(paid_for_four, 4)[-1].kind is not Kind.CLOSE
    assert stages(conclude(paid_for_four, 4, 4)) == [Stage.ATTEST]


def test_control_without_that_check_the_release_would_state_too_small_an_epsilon(paid_for_four, monkeypatch):
    monkeypatch.setattr(HospitalBudget, "rounds_charged", 0)
    monkeypatch.setattr(Concluding, "_require_all_stated", lambda concluding, claim: None)
    (reply,) = conclude(paid_for_four, 4, 3)
    attested = decode(read(paid_for_four, reply).payload, Attest)
    stated = msgspec.json.decode(attested.statement)["predicate"]["privacy"]["epsilon"]
    plan = privacy_plan(paid_for_four.charter.charter)
    assert plan.epsilon_after(3) <= stated <= plan.epsilon_after(3) + 1e-6 < plan.epsilon_after(4)


@pytest.fixture
def paid_by_others(paid_for_four, open_ward, tmp_path):
    """The same, with none of the patients who have paid in the last hospital's file any more."""
    paid_for_four.close()
    table = tmp_path / "data/h4.csv"
    table.write_text(CHANGED["other patients"](table.read_text()))
    return open_ward()


def test_a_hospital_whose_file_has_become_another_attests_to_no_less_than_its_earlier_patients_have_paid(
    paid_by_others,
):
    plan = privacy_plan(paid_by_others.charter.charter)
    assert paid_by_others.hospitals[4]._budget.rounds_charged == 4
    assert paid_by_others.hospitals[4].epsilon == pytest.approx(plan.epsilon_after(4))
    assert refusal(paid_by_others, conclude(paid_by_others, 4, 3)) == "understated-rounds"
    assert stages(conclude(paid_by_others, 4, 4)) == [Stage.ATTEST]


def test_control_by_what_the_patients_of_now_have_paid_it_would_attest_to_too_few_rounds(paid_by_others, monkeypatch):
    ledger = paid_by_others.hospitals[4]._ledger
    data_set = paid_by_others.hospitals[4]._budget._data_set
    run = paid_by_others.charter.digest.hex()
    monkeypatch.setattr(HospitalBudget, "rounds_charged", ledger.account.rounds_on(data_set, run))
    monkeypatch.setattr(HospitalBudget, "epsilon", lambda _: max(map(cost, ledger.spending(data_set).charged(run))))
    assert stages(conclude(paid_by_others, 4, 3)) == [Stage.ATTEST]


def cost(charged):
    return costs_epsilon(charged, 1e-5)


def test_fewer_rounds_than_sums_are_not_attested_to_without_privacy_either(finished):
    assert refusal(finished, conclude(finished, 1, 2)) == "understated-rounds"
    assert stages(conclude(finished, 1, 3)) == [Stage.ATTEST]


@pytest.fixture
def cut_short(open_ward, tmp_path):
    """Stops a private run, whose cost is all of the budget, and changes a site's records; how many entries it has."""

    def cut_short(phase, round_number, change):
        ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
        ward.stop_before(phase, round_number)
        ward.close()
        table = tmp_path / "data/h1.csv"
        table.write_text(change(table.read_text()))
        return len(ledger_of(ward, 1))

    return cut_short


CHANGED = {
    "a patient more": lambda text: text + "0.5,0.25,1\n",
    "other patients": lambda text: "age,dose,ill\n" + "".join(f"{row / 7},-{row},{row % 2}\n" for row in range(1, 21)),
}


@pytest.mark.parametrize("phase", [Phase.CONCLUDE, Phase.RELEASE])
@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_hospital_that_has_every_sum_reserves_no_second_run_for_other_records_and_gets_its_release(
    open_ward, cut_short, phase, change
):
    before = cut_short(phase, 0, change)
    ward = open_ward()
    assert ward.hospitals[1].budget_use.epsilon <= 8
    ward.coordinator().run()
    assert ward.hospitals[1].is_released
    assert not [entry for entry in ledger_of(ward, 1)[before:] if entry.kind in (Kind.RESERVE, Kind.CHARGE)]
    # What was spent is spent.
    assert charged_rounds(ward, 1) == [1, 2, 3]


@pytest.mark.parametrize("at", [(Phase.MASK, 3), (Phase.CONCLUDE, 0)], ids=["before the last sum", "after it"])
def test_the_end_of_a_run_frees_what_it_held_for_earlier_states_of_the_file_too(open_ward, tmp_path, at):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    ward.stop_before(*at)
    ward.close()
    table = tmp_path / "data/h1.csv"
    table.write_text(CHANGED["a patient more"](table.read_text()))
    ward = open_ward()
    ward.coordinator().run()
    account, run = ward.hospitals[1]._ledger.account, ward.charter.digest.hex()
    assert [account.spending(name).run(run).state for name in account.data_sets] == ["closed"] * (1 + (at[1] == 3))
    assert ward.hospitals[1].budget_use.epsilon == pytest.approx(privacy_plan(ward.charter.charter).epsilon_after(3))


def test_control_one_that_lacks_a_sum_has_to_be_able_to_pay_for_the_run_on_what_it_trains_on(open_ward, cut_short):
    cut_short(Phase.MASK, 3, CHANGED["a patient more"])
    with pytest.raises(RefusedError) as caught:
        open_ward()
    assert caught.value.reason == "budget-exceeded"


def test_a_hospital_attests_to_one_release_also_after_a_restart(finished, open_ward):
    """The attack: one model in two releases that all have signed, of different epsilon."""
    first = conclude(finished, 1, 3)
    assert refusal(finished, conclude(finished, 1, 5000)) == "already-concluded"
    assert finished.refused == [("h1", "already-concluded")]
    finished.close()
    again = open_ward()
    assert refusal(again, conclude(again, 1, 4)) == "already-concluded"
    assert statement_in(again, *conclude(again, 1, 3)) == statement_in(again, *first)


def test_control_a_hospital_that_forgets_what_it_attested_to_signs_a_second_release(open_ward, monkeypatch):
    monkeypatch.setattr(HospitalState, "after_conclusion", lambda state, rounds: state)
    ward = open_ward()
    ward.stop_before(Phase.CONCLUDE, 0)
    first, second = (statement_in(ward, *conclude(ward, 1, rounds)) for rounds in (3, 5000))
    assert first != second


def statement_in(ward, reply):
    return decode(read(ward, reply).payload, Attest).statement


def test_a_release_that_is_not_what_the_hospital_attested_to_is_refused(finished):
    signed = (finished.hospitals[1].release_folder / "statement.dsse.json").read_bytes()
    altered = signed.replace(b'"sig": "', b'"sig": "AAAA', 1)
    assert altered != signed
    replies = finished.hospitals[1].receive(finished.forge(Stage.RELEASE, Release(altered)))
    assert refusal(finished, replies) == "bad-statement-signature"


def test_a_release_that_all_contributors_signed_but_this_hospital_did_not_attest_to_is_refused(finished):
    """As where the others have signed one of more rounds: this one's patients spent what its own statement says."""
    folder = finished.hospitals[1].release_folder
    before = (folder / "statement.dsse.json").read_bytes()
    _, statement = read_release(folder)
    longer = msgspec.structs.replace(statement.predicate, rounds=statement.predicate.rounds + 1)
    payload = statement_bytes((folder / "model.safetensors").read_bytes(), longer)
    signatures = [attest(payload, hospital._identity) for hospital in finished.hospitals.values()]
    message = finished.forge(Stage.RELEASE, Release(assemble(payload, signatures).to_json()))
    assert refusal(finished, finished.hospitals[1].receive(message)) == "other-release"
    assert (folder / "statement.dsse.json").read_bytes() == before


# Garbage, replays, and messages for somebody else


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered_by_a_signed_refusal(finished, garbage):
    assert refusal(finished, finished.hospitals[1].receive(garbage))


@pytest.mark.parametrize("payload", [b"\xc0", b"\x91\xa1x", b"\x91\xff", b"\x93\x01\x90\xc4\x01a"])
def test_a_message_of_any_stage_with_a_senseless_payload_is_answered_by_a_signed_refusal(finished, payload):
    before = finished.models
    for stage in Stage:
        assert refusal(finished, finished.hospitals[1].receive(finished.forge(stage, msgspec.Raw(payload))))
    assert finished.models == before


def test_a_message_that_was_cut_off_is_answered_by_a_signed_refusal(finished):
    message = finished.forge(Stage.QUERY, Query())
    for length in range(len(message)):
        assert refusal(finished, finished.hospitals[1].receive(message[:length]))


def test_every_message_of_a_run_played_again_is_refused_or_changes_nothing(open_ward):
    ward = open_ward()
    engine = RecordingEngine(ward.hospitals)
    ward.coordinator(engine=engine).run()
    before = ward.models
    answers = []
    for _, _, member, message in engine.sent:
        if peek(message).stage not in (Stage.QUERY, Stage.CONCLUDE, Stage.RELEASE, Stage.WITNESS):
            answers += ward.hospitals[member].receive(message)
    assert set(stages(answers)) == {Stage.REFUSAL}
    assert ward.models == before


def test_a_begin_played_again_gets_no_second_vector_and_costs_nothing(private):
    begin = private.stop_before(Phase.MASK, 1)
    hospital = private.hospitals[1]
    assert stages(hospital.receive(begin[1])) == [Stage.MASKED]
    assert refusal(private, hospital.receive(begin[1])) == "stale-round"
    assert charged_rounds(private, 1) == [1]


def test_a_hospitals_own_message_sent_back_to_it_is_refused(open_ward):
    ward = open_ward()
    engine = RecordingEngine(ward.hospitals)
    ward.coordinator(engine=engine).run()
    for _, _, _, message in engine.received[:40]:
        assert refusal(ward, ward.hospitals[1].receive(message))


def test_a_refusal_does_not_say_what_is_wrong_at_the_site(private, monkeypatch):
    begin = private.stop_before(Phase.MASK, 1)

    def refuse(budget, round_number, step):
        raise RefusedError("budget-exceeded", "The data set of ward 7 has spent epsilon 7.9.")

    monkeypatch.setattr(HospitalBudget, "charge", refuse)
    (reply,) = private.hospitals[1].receive(begin[1])
    told = decode(read(private, reply).payload, Refusal)
    assert (told.reason, "ward 7" in told.message) == ("budget-exceeded", False)


# The state file


def test_a_hospital_opened_again_has_the_state_that_it_was_closed_with(open_ward):
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    ward.coordinator().run()
    before = ward.hospitals[1].state
    ward.close()
    ward = open_ward()
    after = ward.hospitals[1].state
    assert np.array_equal(before.model, after.model)
    assert before.progress == after.progress
    assert before.digest(ward.hospitals[1]._layout) == after.digest(ward.hospitals[1]._layout)
    assert np.array_equal(before.moments.mean, after.moments.mean)
    assert np.array_equal(before.moments.variance, after.moments.variance)


def test_a_state_file_of_a_version_that_took_two_sums_of_statistics_is_refused_in_plain_words(finished):
    path = finished.state_file(1)
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = file.metadata()
    save_file(tensors | {"moments.0": np.ones(3), "moments.1": np.ones(3)}, path, metadata)
    with pytest.raises(InputError) as caught:
        load_state(path, finished.charter.digest)
    assert (caught.value.reason, caught.value.culprit) == ("earlier-version", str(path))
    assert "earlier version of secagg" in caught.value.message


def set_up(ward):
    """An epoch of training, by a coordinator that passes over refusals."""
    server = MaskingServer(Session(ward.charter, 1, Purpose.TRAINING, 1, 2))
    deliver(ward, server, server.open(), 3)
    return server


def deliver(ward, server, outbox, times):
    """Messages to hospitals and their answers back, so many times; what is to be delivered next."""
    for _ in range(times):
        answers = EmbeddedEngine(ward.hospitals).exchange(Phase.READY, outbox, 0).inbox
        replies = [pair for pair in answers if peek(pair[1]).stage != Stage.REFUSAL]
        outbox = [message for sender, reply in replies for message in server.receive(sender, reply)]
    return outbox


def test_a_hospital_whose_disk_was_full_at_the_set_up_masks_nothing_before_it_has_kept_the_tag_key(
    open_ward, monkeypatch
):
    ward = open_ward()
    save, full = HospitalState.save, [True, True]

    def saving(state, path):
        if path == ward.state_file(1) and full and full.pop():
            raise InputError("unwritable", "No space left on device.")
        save(state, path)

    monkeypatch.setattr(HospitalState, "save", saving)
    set_up(ward)
    assert not ward.state_file(1).exists()
    first, second = (ward.forge(Stage.BEGIN, Begin(1), epoch=1, round_number=number) for number in (1, 2))
    assert refusal(ward, ward.hospitals[1].receive(first)) == "unwritable"
    assert stages(ward.hospitals[1].receive(second)) == [Stage.MASKED]
    assert load_state(ward.state_file(1), ward.charter.digest).tag_key(1) is not None


def test_a_sum_that_came_while_the_disk_had_no_room_is_not_taken_with_a_later_message(open_ward, monkeypatch):
    ward = open_ward(hospitals=4)
    save, full = HospitalState.save, [True]

    def saving(state, path):
        if path == ward.state_file(1) and full:
            raise InputError("unwritable", "No space left on device.")
        save(state, path)

    monkeypatch.setattr(HospitalState, "save", saving)
    server = set_up(ward)
    server.timeout()
    begun = [(member, message) for member, message in server.begin(1) if member != 1]
    deliver(ward, server, begun, 1)
    sums = dict(deliver(ward, server, deliver(ward, server, server.timeout(), 1), 1))
    assert refusal(ward, ward.hospitals[1].receive(sums[1])) == "unwritable"
    full.clear()
    ward.hospitals[1].receive(ward.forge(Stage.ABORT, Abort("lost"), epoch=1, round_number=1))
    assert [ward.hospitals[number].state.sums for number in (1, 2)] == [0, 0]
    log = read_egress(ward.home(1).egress, Identity.load(ward.home(1).identity).public_key)
    assert Direction.TOOK not in [entry.direction for entry in log]


@pytest.mark.parametrize("damage", [b"", b"not a state file", b"\xff" * 200])
def test_a_damaged_state_file_is_refused(finished, damage):
    path = finished.state_file(1)
    path.write_bytes(damage)
    with pytest.raises(TamperingError) as caught:
        load_state(path, finished.charter.digest)
    assert caught.value.reason == "damaged-checkpoint"
    assert caught.value.exit_code == 4


def test_a_state_file_of_lists_in_lists_is_a_damaged_one(finished):
    path = finished.state_file(1)
    path.write_bytes(save({"model": np.zeros(1, np.float32)}, {"secagg": '{"more": ' + 100_000 * "["}))
    with pytest.raises(TamperingError) as caught:
        load_state(path, finished.charter.digest)
    assert caught.value.reason == "damaged-checkpoint"


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_a_state_file_that_was_cut_off_is_refused(finished, fraction):
    path = finished.state_file(1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(TamperingError) as caught:
        load_state(path, finished.charter.digest)
    assert caught.value.reason == "damaged-checkpoint"


def test_a_hospital_with_a_damaged_state_file_does_not_start(finished, open_ward):
    path = finished.state_file(3)
    finished.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TamperingError) as caught:
        open_ward()
    assert (caught.value.reason, caught.value.culprit) == ("damaged-checkpoint", str(path))


def test_another_charters_state_file_is_refused(finished):
    with pytest.raises(TamperingError) as caught:
        load_state(finished.state_file(1), bytes(32))
    assert caught.value.reason == "other-charter"


def test_the_state_file_is_readable_by_its_owner_alone(finished):
    assert finished.state_file(1).stat().st_mode & 0o077 == 0


def test_two_processes_cannot_run_one_hospital(finished):
    with pytest.raises(InputError) as caught:
        Ward.open(finished.folder)
    assert caught.value.reason == "state-in-use"


def test_what_it_left_half_written_when_it_was_killed_is_removed_when_it_alone_has_its_folder(open_ward):
    ward = open_ward()
    ward.stop_before(Phase.MASK, 2)
    path = ward.state_file(1)
    left = path.with_name(f".{path.name}.ab_d3fgh.partial")
    left.touch()
    with pytest.raises(InputError):
        Ward.open(ward.folder)
    assert left.exists()
    ward.close()
    open_ward()
    assert not left.exists()
    assert path.exists()
