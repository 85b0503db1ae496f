"""A whole run on one machine: prepared entirely or not at all, finished whenever it is taken up again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from dp.events import GaussianEvent
from dp.ledger import Account, Budget, Cost, Kind, Ledger
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from secagg.charter import Encoding
from secagg.charter.folder import read_verified
from secagg.errors import InputError, ProtocolError, RefusedError, SecaggError
from secagg.identity import Identity
from secagg.policy import load_policy, render_policy
from secagg.release import verify_release
from secagg.signed_log import read_log
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.hospitals import (
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    Ward,
    choices_of,
    settings_for,
    tabular_spec,
    training_of,
    write_tables,
)
from training import simulated_consortium, simulation_folder
from training.draft import task_of
from training.engines.base import Phase
from training.hospital import Hospital
from training.hospital_folder import HospitalFolder
from training.hospital_logs import open_site_ledger
from training.hospital_setup import split_patients
from training.local_sgd import train_locally
from training.metrics import Metrics
from training.model_state import ModelLayout, flatten, load
from training.records import concatenate
from training.simulated_consortium import SimulatedConsortium
from training.simulation import Observer, run
from training.simulation_folder import prepare, read_settings
from training.sites import read_sites
from training.vector_layout import UpdateVector, clip_norm


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path / "data", 4)


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Preparing: all or nothing


def bad_table(tables, content):
    tables[2].write_text(content)
    return tables


def refused(folder, settings):
    """The reason why nothing could be prepared; what lay beside the folder is as it was."""
    before = everything_in(folder.parent)
    with pytest.raises(InputError) as caught:
        prepare(folder, settings)
    assert everything_in(folder.parent) == before
    return caught.value.reason


@pytest.mark.parametrize(
    "content",
    [
        "",
        "age,dose\n1,2\n",
        "age,dose,ill\n",
        "age,dose,ill\n1,x,0\n2,3,1\n",
        "age,dose,ill\n1,nan,0\n2,3,1\n",
        "age,dose,ill\n1,2,1\n2,3,1\n",
    ],
)
def test_data_that_cannot_be_used_leave_nothing_behind(tmp_path, tables, content):
    bad_table(tables, content)
    assert refused(tmp_path / "run", settings_for(tables, choices_of()))


def test_a_missing_file_leaves_nothing_behind(tmp_path, tables):
    tables[1].unlink()
    assert refused(tmp_path / "run", settings_for(tables, choices_of()))


def test_a_task_that_names_no_such_column_leaves_nothing_behind(tmp_path, tables):
    assert refused(tmp_path / "run", settings_for(tables, choices_of(), tabular_spec(features=("age", "height"))))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"training": training_of(local_steps=0)}, "training.local_steps"),
        ({"training": training_of(rounds=2_000_000)}, "training.rounds"),
        ({"training": training_of(learning_rate=1e300)}, "training.learning_rate"),
        ({"training": training_of(momentum=1.0)}, "training.momentum"),
        ({"encoding": Encoding(update_norm=-1.0)}, "encoding.update_norm"),
        ({"epoch_rounds": 0}, "epoch_rounds"),
        ({"metrics": "exact", "target": 2.0}, "metrics.target"),
    ],
)
def test_a_choice_that_no_charter_can_hold_leaves_nothing_behind_and_is_named(tmp_path, tables, changes, field):
    settings = settings_for(tables, choices_of(**changes))
    assert refused(tmp_path / "run", settings) == "malformed-charter"
    with pytest.raises(InputError, match=rf"^The charter's {field} is not valid: expected ") as caught:
        prepare(tmp_path / "run", settings)
    assert caught.value.remedy == "Choose another value."


def test_a_field_too_narrow_for_the_weights_leaves_nothing_behind(tmp_path, tables):
    choices = choices_of(encoding=Encoding(field_bits=16, max_weight=1 << 20))
    assert refused(tmp_path / "run", settings_for(tables, choices)) == "field-too-narrow"
    # The control: the widest that fits is prepared, and runs, though so coarse a grid makes every update zero.
    prepare(tmp_path / "run", settings_for(tables, choices_of(encoding=Encoding(field_bits=16, max_weight=8191))))
    with pytest.raises(ProtocolError, match="None of 3 sums has changed the model"):
        run(tmp_path / "run", Observer())


@pytest.mark.parametrize("drop_out", ["h9:1", "h1", "h1:x", "h1:0", "h1:1:sleeping"])
def test_a_drop_out_that_means_nothing_leaves_nothing_behind(tmp_path, tables, drop_out):
    settings = settings_for(tables, choices_of(), drop_outs=(drop_out,))
    assert refused(tmp_path / "run", settings) == "bad-drop-out"


def test_choices_that_contradict_each_other_leave_nothing_behind(tmp_path, tables):
    assert refused(tmp_path / "run", settings_for(tables, choices_of(threshold=2))) == "unsafe-threshold"


def test_statistics_without_noise_are_refused_under_differential_privacy(tmp_path, tables):
    settings = settings_for(tables, PRIVATE_CHOICES, tabular_spec(**SCALED_BY_SUMS))
    assert refused(tmp_path / "run", settings) == "statistics-not-private"


def test_a_place_that_cannot_be_written_to_leaves_nothing_behind(tmp_path, tables):
    (tmp_path / "file").write_text("a file where a folder should be")
    assert refused(tmp_path / "file" / "run", settings_for(tables, choices_of())) == "unwritable"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_already_there_is_never_touched(tmp_path, tables, make):
    folder = tmp_path / "run"
    make(folder)
    if folder.is_dir():
        (folder / "thesis.txt").write_text("two years of work")
    assert refused(folder, settings_for(tables, choices_of())) == "folder-not-empty"


def test_the_working_directory_may_be_used_if_it_is_empty(tmp_path, tables, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prepare(Path(), settings_for(tables, choices_of()))
    assert read_verified(tmp_path / "here/charter").charter.members[0].name == "h1"
    assert not [*tmp_path.glob(".*"), *(tmp_path / "here").glob(".*")]


def test_what_cannot_be_written_leaves_the_working_directory_as_it_is(tmp_path, tables, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "in-the-way").touch()
    monkeypatch.chdir(tmp_path / "here")
    settings = replace(settings_for(tables, choices_of()), hospitals_at=str(tmp_path / "in-the-way"))
    assert refused(Path(), settings) == "unwritable"
    assert everything_in(tmp_path / "here") == []


def test_an_empty_folder_may_be_used(tmp_path, tables):
    (tmp_path / "run").mkdir()
    prepare(tmp_path / "run", settings_for(tables, choices_of()))
    assert read_verified(tmp_path / "run/charter").charter.members[0].name == "h1"
    assert not list(tmp_path.glob(".*"))


def test_every_hospital_has_its_own_key_that_only_its_owner_can_read(tmp_path, tables):
    prepare(tmp_path / "run", settings_for(tables, choices_of()))
    files = list((tmp_path / "run").glob("hospitals/*/identity.pem"))
    assert len({Identity.load(path).public_key for path in files}) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize("phase", ["deal", "query", "conclude"])
def test_a_drop_out_in_a_phase_that_no_round_has_is_refused_with_those_that_it_has(tmp_path, tables, phase):
    settings = settings_for(tables, choices_of(), drop_outs=(f"h1:3:{phase}",))
    with pytest.raises(InputError, match="a phase that no round has") as caught:
        prepare(tmp_path / "run", settings)
    assert caught.value.remedy == "Phases of a round are mask, agree, reveal, apply."


# Running and going on


class CutOffError(Exception):
    pass


def interrupt_after(round_number):
    def stop(result):
        if result.record.round == round_number:
            raise CutOffError

    return Observer(on_round=stop)


def digests_of(folder):
    with Ward.open(folder) as ward:
        return ward.models, ward.sums


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_interrupted_after_any_round_is_finished_when_taken_up_again(tmp_path, tables, stop):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of(), tabular_spec(**SCALED_BY_SUMS)))
    with pytest.raises(CutOffError):
        run(folder, interrupt_after(stop))
    result = run(folder, Observer())
    models, sums = digests_of(folder)
    assert (len(models), sums) == (1, [3, 3, 3, 3])
    assert [entry.record.round for entry in result.rounds] == [1, 2, 3, 4]
    assert verify_release(folder / "release").statement.predicate.sums == 3


@pytest.mark.parametrize("stop", [1, 4])
def test_a_round_that_nobody_came_to_measure_is_in_the_result_all_the_same(tmp_path, tables, monkeypatch, stop):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of(), tabular_spec(**SCALED_BY_SUMS)))
    measure = SimulatedConsortium.measure

    def cut_off(consortium, record):
        if record.round == stop:
            raise CutOffError
        return measure(consortium, record)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedConsortium, "measure", cut_off)
        with pytest.raises(CutOffError):
            run(folder, Observer())
    result = run(folder, Observer())
    assert [entry.record.round for entry in result.rounds] == [1, 2, 3, 4]
    assert result.rounds[-1].metrics == result.federated
    assert (folder / "history.jsonl").stat().st_mode & 0o777 == 0o644


def test_a_comparison_that_diverges_is_told_and_takes_nothing_from_what_was_made(tmp_path, tables):
    """Hospitals clip an update after each step; one place that trains by itself does not."""
    folder, told = tmp_path / "run", []
    training = training_of(rounds=20, local_steps=1, learning_rate=10.0, weight_decay=100.0)
    prepare(folder, settings_for(tables, choices_of(training=training), compare=True))
    result = run(folder, Observer(on_no_comparison=lambda what, error: told.append((what, error.reason))))
    assert ("all records pooled", "training-diverged") in told
    assert result.comparison.pooled_same_steps == Metrics(None, None, 0)
    assert result.federated.accuracy is not None
    assert verify_release(folder / "release").statement.predicate.sums == 20


def test_what_a_run_that_ended_early_is_compared_with_ends_as_early(tmp_path, tables):
    folder = tmp_path / "run"
    choices = choices_of(training_of(rounds=9, local_steps=2), metrics="exact", target=0.01)
    prepare(folder, settings_for(tables, choices, compare=True))
    result = run(folder, Observer())
    assert result.rounds[-1].record.step < 9
    assert result.comparison.steps == 2 * result.rounds[-1].record.step


def test_a_private_run_taken_up_again_has_paid_for_every_round_it_states(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, PRIVATE_CHOICES, PRIVATE_TASK))
    with pytest.raises(CutOffError):
        run(folder, interrupt_after(2))
    result = run(folder, Observer())
    release = verify_release(folder / "release").statement.predicate
    for home in (folder / "hospitals").iterdir():
        entries = read_log(home / "ledger.sqlite", Identity.load(home / "identity.pem").public_key, LEDGER)
        assert [entry.round for entry in entries if entry.kind is Kind.CHARGE] == [1, 2, 3]
    assert 0 <= release.privacy.epsilon - result.rounds[-1].epsilon <= 1e-6


def spend_elsewhere(home):
    """Another run of this site's, on data of nobody knows whom, holds much of the budget."""
    with open_site_ledger(home, Identity.load(home.identity)) as ledger:
        ledger.reserve("f" * 64, "e" * 64, Cost((GaussianEvent(1.0, 0.5, 3),)), Budget(20.0, 1e-5), "")


@pytest.fixture
def withdrawn(tmp_path, tables):
    """A private run that did not start, because one hospital could not pay for it; that hospital can by now."""
    folder = tmp_path / "run"
    settings = settings_for(tables, PRIVATE_CHOICES, PRIVATE_TASK)
    prepare(folder, settings)
    last = settings.hospital_folder(folder, "h4")
    Ledger(last.ledger, Identity.load(last.identity)).close()
    spend_elsewhere(last)
    with pytest.raises(RefusedError) as caught:
        run(folder, Observer())
    assert (caught.value.reason, caught.value.culprit) == ("budget-exceeded", "h4")
    last.policy.write_bytes(render_policy(replace(load_policy(last.policy), maximum_epsilon=20.0)))
    return folder, settings


def entries_of(folder, settings):
    """By hospital, what is in its ledger of the run."""
    homes = [settings.hospital_folder(folder, name) for name in ("h1", "h2", "h3", "h4")]
    ledgers = [read_log(home.ledger, Identity.load(home.identity).public_key, LEDGER) for home in homes]
    return [[entry for entry in ledger if entry.run != "e" * 64] for ledger in ledgers]


def test_a_run_that_was_withdrawn_is_reserved_again_as_a_whole_before_it_starts(withdrawn):
    folder, settings = withdrawn
    kinds = [[entry.kind for entry in entries] for entries in entries_of(folder, settings)]
    assert kinds == [[Kind.RESERVE, Kind.CLOSE]] * 3 + [[]]
    run(folder, Observer())
    first, closed, again, *rounds = entries_of(folder, settings)[0]
    assert (closed.kind, again.kind, again.cost) == (Kind.CLOSE, Kind.RESERVE, first.cost)
    assert [entry.kind for entry in rounds] == [Kind.CHARGE, Kind.COMMIT] * 3 + [Kind.CLOSE]


def test_one_that_fits_no_more_when_it_is_taken_up_again_does_not_start(withdrawn):
    folder, settings = withdrawn
    spend_elsewhere(settings.hospital_folder(folder, "h2"))
    with pytest.raises(RefusedError) as caught:
        run(folder, Observer())
    assert (caught.value.reason, caught.value.culprit) == ("budget-exceeded", "h2")
    assert Kind.CHARGE not in {entry.kind for entries in entries_of(folder, settings) for entry in entries}


# Taken up again after a round was cut off, when the rest may not fit into the budget


def cut_off(folder, tables, choices=PRIVATE_CHOICES, phase=Phase.REVEAL, number=1, **settings):
    """A private run that was stopped in a round, its first, which all hospitals had paid for."""
    prepare(folder, settings_for(tables, choices, PRIVATE_TASK, **settings))
    with Ward.open(folder) as ward:
        ward.stop_before(phase, number)


def allow(folder, epsilon, names=("h1", "h2", "h3", "h4")):
    for name in names:
        policy = folder / "hospitals" / name / "policy.toml"
        policy.write_bytes(render_policy(replace(load_policy(policy), maximum_epsilon=epsilon)))


def charged(folder):
    """By hospital, the rounds that it has paid for."""
    entries = entries_of(folder, read_settings(folder))
    return [[entry.round for entry in ledger if entry.kind is Kind.CHARGE] for ledger in entries]


def refused_to_go_on(folder):
    """The epsilon that it asks for; nothing was charged and nothing begun."""
    before = charged(folder)
    with pytest.raises(RefusedError) as caught:
        run(folder, Observer())
    assert caught.value.reason == "budget-exceeded"
    assert charged(folder) == before
    return float(re.search(r"policy.toml to ([0-9.]+) or more, then continue", caught.value.remedy)[1])


def test_a_run_whose_last_sum_cannot_be_paid_for_is_refused_before_it_goes_on_and_the_figure_is_just_enough(
    tmp_path, tables
):
    folder = tmp_path / "run"
    cut_off(folder, tables)
    needed = refused_to_go_on(folder)
    assert needed == refused_to_go_on(folder)
    allow(folder, needed - 0.01)
    assert refused_to_go_on(folder) == needed
    allow(folder, needed)
    result = run(folder, Observer())
    assert charged(folder) == [[1, 2, 3, 4]] * 4
    # No round was lost to being refused.
    assert verify_release(folder / "release").statement.predicate.rounds == 4
    assert needed - 0.01 < result.rounds[-1].epsilon <= needed


@pytest.mark.parametrize("number", [1, 3])
def test_control_it_goes_on_where_the_sum_of_that_round_was_made_and_no_hospital_had_it_yet(tmp_path, tables, number):
    folder = tmp_path / "run"
    cut_off(folder, tables, phase=Phase.APPLY, number=number)
    run(folder, Observer())
    assert charged(folder) == [[1, 2, 3]] * 4


def test_control_it_goes_on_where_enough_hospitals_can_pay_for_the_rest(tmp_path, tables):
    folder = tmp_path / "run"
    cut_off(folder, tables)
    threshold = read_verified(folder / "charter").charter.threshold
    allow(folder, 20.0, ("h1", "h2", "h3", "h4")[:threshold])
    run(folder, Observer())
    assert charged(folder) == [[1, 2, 3, 4]] * threshold + [[1, 2, 3]] * (4 - threshold)


def test_control_it_goes_on_where_hospitals_are_going_to_drop_out_of_a_round_and_so_can_pay_for_the_last(
    tmp_path, tables
):
    folder = tmp_path / "run"
    # In epochs of one round, whoever missed a sum has it before the next round.
    drop_outs = ("h1:2", "h2:3", "h3:4")
    cut_off(folder, tables, replace(PRIVATE_CHOICES, epoch_rounds=1), drop_outs=drop_outs)
    allow(folder, 20.0, ("h4",))
    run(folder, Observer())
    assert charged(folder) == [[1, 3, 4], [1, 2, 4], [1, 2, 3], [1, 2, 3, 4]]


def test_control_one_that_its_target_may_end_before_goes_on(tmp_path, tables):
    folder = tmp_path / "run"
    cut_off(folder, tables, replace(PRIVATE_CHOICES, metrics="noisy", target=0.01))
    run(folder, Observer())
    assert max(max(rounds) for rounds in charged(folder)) == 2


def test_a_run_that_leaves_patients_out_and_runs_out_of_budget_says_what_it_lacks_and_how_to_go_on(tmp_path, tables):
    folder, heeded = tmp_path / "run", []
    # Nothing is refused before a round where a target may be reached first.
    choices = replace(PRIVATE_CHOICES, metrics="noisy", metrics_every=3, target=0.99)
    cut_off(folder, tables, choices, number=3)
    lines = tables[0].read_text().splitlines()
    tables[0].write_text("\n".join([*lines, "0.5,0.25,1"]) + "\n")
    with pytest.raises(RefusedError) as caught:
        run(folder, Observer(on_caution=lambda name, caution: heeded.append((name, caution.code))))
    assert heeded == [("h1", "patients-left-out")]
    assert caught.value.reason == "budget-exceeded"
    assert caught.value.culprit == "h1, h2, h3, h4"
    assert "Raise maximum_epsilon in" in caught.value.remedy


def test_control_without_differential_privacy_there_is_nothing_to_pay_for(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    with Ward.open(folder) as ward:
        ward.stop_before(Phase.REVEAL, 1)
    assert run(folder, Observer()).rounds[-1].record.step == 3


def test_a_finished_run_taken_up_again_ends_with_the_same_release(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    first = run(folder, Observer())
    release = {path.name: path.read_bytes() for path in (folder / "release").iterdir()}
    again = run(folder, Observer())
    assert {path.name: path.read_bytes() for path in (folder / "release").iterdir()} == release
    assert again.federated == first.federated
    assert again.rounds == first.rounds


def test_the_release_fits_and_every_hospital_holds_the_same(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    run(folder, Observer())
    with Ward.open(folder) as ward:
        places = [folder / "release", *(hospital.release_folder for hospital in ward.hospitals.values())]
    for place in places:
        verify_release(place)
    assert len({(place / "model.safetensors").read_bytes() for place in places}) == 1
    assert len({(place / "statement.dsse.json").read_bytes() for place in places}) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"task_kind": 3}'])
def test_damaged_settings_are_refused(tmp_path, tables, damage):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    (folder / "simulation.json").write_bytes(damage)
    with pytest.raises(InputError) as caught:
        run(folder, Observer())
    assert (caught.value.reason, caught.value.culprit) == ("damaged-settings", str(folder / "simulation.json"))
    assert "Put the file back" in caught.value.remedy


@pytest.mark.parametrize("damage", [b"\n", b"{\n", b"\xff\xfe\n", b'{"task_kind": 3}\n'])
def test_a_damaged_history_is_refused(tmp_path, tables, damage):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    with pytest.raises(CutOffError):
        run(folder, interrupt_after(1))
    (folder / "history.jsonl").write_bytes(damage)
    with pytest.raises(InputError) as caught:
        run(folder, Observer())
    assert caught.value.reason == "damaged-history"


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        run(tmp_path, Observer())
    assert caught.value.reason == "not-a-run"


def test_an_altered_charter_stops_the_run(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of()))
    charter = folder / "charter/charter.toml"
    charter.write_text(charter.read_text().replace("rounds = 3", "rounds = 4", 1))
    with pytest.raises(SecaggError) as caught:
        run(folder, Observer())
    assert (caught.value.reason, caught.value.exit_code) == ("charter-altered", 4)


def test_patients_pay_for_what_they_are_in_where_data_changed_between_start_and_resumption(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, PRIVATE_CHOICES, PRIVATE_TASK))
    with pytest.raises(CutOffError):
        run(folder, interrupt_after(1))
    lines = tables[0].read_text().splitlines()
    tables[0].write_text("\n".join([*lines, "0.5,0.25,1"]) + "\n")
    # One patient more: all others have reserved the whole run before, and would a second time.
    with pytest.raises(RefusedError) as caught:
        run(folder, Observer())
    assert caught.value.reason == "budget-exceeded"
    home = folder / "hospitals/h1"
    policy = home / "policy.toml"
    policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 16.0"))
    run(folder, Observer())
    ledger = home / "ledger.sqlite"
    entries = read_log(ledger, Identity.load(home / "identity.pem").public_key, LEDGER)
    account = Account.load(entries, patients_folder(ledger))
    before, after = account.data_sets
    assert account.overlaps(after) == {before: len(lines) - 1}
    assert account.spending(after).epsilon(1e-5) == account.spending(before).epsilon(1e-5)
    charged = {}
    for entry in entries:
        if entry.kind is Kind.CHARGE:
            charged.setdefault(entry.data_set, []).append(entry.round)
    assert list(charged.values()) == [[1], [2, 3]]


def test_with_a_comparison_everybody_is_measured_on_the_same_records(tmp_path, tables):
    folder = tmp_path / "run"
    prepare(folder, settings_for(tables, choices_of(), compare=True))
    compared = []
    result = run(folder, Observer(on_compare=compared.append))
    assert len(compared) == 1 + 4
    compared = result.comparison
    assert {compared.pooled_same_steps.patients, result.federated.patients} == {compared.alone[0][1].patients}
    assert [name for name, _ in compared.alone] == ["h1", "h2", "h3", "h4"]


def test_hospitals_that_outlive_a_run_keep_their_keys(tmp_path, tables):
    for name in ("first", "second"):
        settings = settings_for(tables, choices_of(), hospitals_at=str(tmp_path / "hospitals"))
        prepare(tmp_path / name, settings)
        run(tmp_path / name, Observer())
    keys = [
        [member.public_key for member in read_verified(tmp_path / name / "charter").charter.members]
        for name in ("first", "second")
    ]
    assert keys[0] == keys[1]
    assert verify_release(tmp_path / "first/release").charter.digest != (
        verify_release(tmp_path / "second/release").charter.digest
    )


@pytest.mark.parametrize("file", ["identity.pem", "policy.toml"])
def test_hospitals_whose_laying_out_was_cut_off_can_be_laid_out_again(tmp_path, tables, monkeypatch, file):
    settings = settings_for(tables, choices_of(), hospitals_at=str(tmp_path / "hospitals"))
    with monkeypatch.context() as patched:
        cut_off_at_the_third(patched, file)
        with pytest.raises(CutOffError):
            prepare(tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
    prepare(tmp_path / "run", settings)
    run(tmp_path / "run", Observer())


def cut_off_at_the_third(patched, file):
    owner, name = (Identity, "save") if file == "identity.pem" else (simulation_folder, "write_atomically")
    real, made = getattr(owner, name), []

    def third_fails(*arguments):
        made.extend(path for path in arguments if isinstance(path, Path) and path.name == file)
        if len(made) == 3:
            raise CutOffError
        return real(*arguments)

    patched.setattr(owner, name, third_fails)


def test_a_site_that_ran_without_a_policy_is_given_none(tmp_path, tables):
    """It has the strict defaults, and somebody may want just these."""
    settings = settings_for(tables, choices_of(), hospitals_at=str(tmp_path / "hospitals"))
    prepare(tmp_path / "first", settings)
    run(tmp_path / "first", Observer())
    (tmp_path / "hospitals/h2/policy.toml").unlink()
    prepare(tmp_path / "second", settings)
    with pytest.raises(RefusedError, match="h2 refuses"):
        run(tmp_path / "second", Observer())


# What went wrong


def failing_once(stage, round_number, name):
    class Failing(Hospital):
        def receive(self, message):
            header = peek(message)
            if (header.stage, header.round, self.name) == (stage, round_number, name):
                raise InputError("unwritable", "The disk is full.")
            return super().receive(message)

    return Failing


@pytest.mark.parametrize(("failed", "reason"), [(1, "too-few-masked"), (3, "unwritable")])
def test_a_failure_before_the_last_sum_is_not_told_as_why_the_run_ended(tmp_path, tables, monkeypatch, failed, reason):
    drop_outs = [f"{name}:{number}" for name in ("h1", "h2") for number in (3, 4, 5)]
    prepare(tmp_path / "run", settings_for(tables, choices_of(), drop_outs=tuple(drop_outs)))
    monkeypatch.setattr(simulated_consortium, "Hospital", failing_once(Stage.BEGIN, failed, "h3"))
    with pytest.raises(SecaggError) as caught:
        run(tmp_path / "run", Observer())
    assert caught.value.reason == reason


def test_a_release_that_one_hospital_could_not_keep_is_the_runs_all_the_same_and_that_is_told(tmp_path, tables):
    folder, told = tmp_path / "run", []
    prepare(folder, settings_for(tables, choices_of()))
    in_its_way = HospitalFolder(folder / "hospitals/h1").release(read_verified(folder / "charter").digest)
    in_its_way.parent.mkdir(parents=True)
    in_its_way.touch()
    run(folder, Observer(on_refusal=lambda name, error: told.append((name, error.reason))))
    assert verify_release(folder / "release").statement.predicate.sums == 3
    assert told[-1] == ("h1", "no-release")


# Equality: what the protection must not change


def plainly(folder):
    """Everything about a finished run but the masks: charter, task, and each hospital's training records."""
    charter = read_verified(folder / "charter")
    task = task_of(charter.charter)
    sites = read_sites(read_settings(folder).source, task)
    return charter.charter, task, [split_patients(site.records, task)[0] for site in sites]


def train_once(charter, task, records, model, generator):
    module = task.build_model()
    load(module, model)
    train_locally(module, records, task.loss, charter.training, generator, torch.device("cpu"))
    return flatten(module).astype(np.float64) - model.astype(np.float64)


def final_model(folder):
    with Ward.open(folder) as ward:
        (model,) = {hospital.state.model.tobytes() for hospital in ward.hospitals.values()}
    return np.frombuffer(model, np.float32)


def plain_averaging(folder):
    """FedAvg as in the textbook, in float64, with the batches that the hospitals draw."""
    charter, task, records = plainly(folder)
    model = flatten(task.build_model())
    generators = [np.random.default_rng((0, number)) for number in range(1, len(records) + 1)]
    uniform = charter.training.weighting == "uniform"
    weights = [1 if uniform else min(part.patient_count, charter.encoding.max_weight) for part in records]
    for _ in range(charter.training.rounds):
        updates = [
            clip_norm(train_once(charter, task, part, model, generator), charter.encoding.update_norm)
            for part, generator in zip(records, generators, strict=True)
        ]
        model = (model.astype(np.float64) + np.average(updates, axis=0, weights=weights)).astype(np.float32)
    return model, grid_error(charter, task, weights)


def grid_error(charter, task, weights):
    """How far encoding may move the mean in all rounds together: half a grid point a hospital, over their weight."""
    layout = UpdateVector(charter, ModelLayout.of(task.build_model())).layout
    most = max(weights) if charter.training.weighting == "uniform" else charter.encoding.max_weight
    one = len(weights) * 0.5 / layout.scale(layout.sections[0]) * most / sum(weights)
    # Each round's difference moves the next round's updates a little too: a factor of two covers it here.
    return 2 * charter.training.rounds * one


@pytest.mark.parametrize("weighting", ["records", "uniform"])
@pytest.mark.parametrize("field_bits", [24, 40])
def test_the_masked_result_is_that_of_plain_federated_averaging_to_the_grid(tmp_path, tables, weighting, field_bits):
    choices = choices_of(
        training_of(rounds=3, local_steps=4, weighting=weighting),
        encoding=Encoding(field_bits=field_bits, max_weight=64),
    )
    prepare(tmp_path / "run", settings_for(tables, choices))
    run(tmp_path / "run", Observer())
    plain, error = plain_averaging(tmp_path / "run")
    found = final_model(tmp_path / "run")
    assert np.abs(plain - flatten_start(tmp_path / "run")).max() > 100 * (error + 1e-7)
    assert np.abs(found.astype(np.float64) - plain).max() <= error + 1e-6


def flatten_start(folder):
    _, task, _ = plainly(folder)
    return flatten(task.build_model())


def test_control_another_weighting_gives_another_model(tmp_path, tables):
    models = []
    for weighting in ("records", "uniform"):
        choices = choices_of(training_of(rounds=3, local_steps=4, weighting=weighting))
        prepare(tmp_path / weighting, settings_for(tables, choices))
        run(tmp_path / weighting, Observer())
        models.append(final_model(tmp_path / weighting))
    assert np.abs(models[0] - models[1]).max() > 1e-4


def test_one_full_batch_step_a_round_is_gradient_descent_on_the_pooled_records(tmp_path, tables):
    choices = choices_of(
        training_of(rounds=4, local_steps=1, batch_size=1024), encoding=Encoding(field_bits=40, max_weight=64)
    )
    prepare(tmp_path / "run", settings_for(tables, choices))
    run(tmp_path / "run", Observer())
    charter, task, records = plainly(tmp_path / "run")
    pooled = concatenate(records)
    module = task.build_model()
    optimiser = torch.optim.SGD(module.parameters(), lr=charter.training.learning_rate)
    for _ in range(4):
        optimiser.zero_grad()
        task.loss(module(torch.from_numpy(pooled.features)), torch.from_numpy(pooled.labels)).backward()
        optimiser.step()
    found = final_model(tmp_path / "run")
    assert np.abs(found - flatten(module)).max() <= 2e-6
    assert np.abs(found - flatten(task.build_model())).max() > 1e-2


def test_a_drop_out_leaves_out_exactly_that_hospitals_update(tmp_path):
    tables = write_tables(tmp_path / "data", 5)
    choices = choices_of(training_of(rounds=1, local_steps=2), encoding=Encoding(field_bits=40, max_weight=64))
    prepare(tmp_path / "run", settings_for(tables, choices, drop_outs=("h2:1",)))
    run(tmp_path / "run", Observer())
    charter, task, records = plainly(tmp_path / "run")
    start = flatten(task.build_model())
    kept = [number for number in range(1, 6) if number != 2]
    updates = [
        train_once(charter, task, records[number - 1], start, np.random.default_rng((0, number))) for number in kept
    ]
    mean = np.average(updates, axis=0, weights=[records[number - 1].patient_count for number in kept])
    assert np.abs(final_model(tmp_path / "run") - (start + mean)).max() <= 1e-6
