"""A hospital's folder opens for the right job once, and answers until the job is over."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from safetensors.numpy import load_file

from dp.ledger import BudgetUse
from dp.ledger.export import export_ledger, read_export
from secagg.errors import RefusedError, SecaggError, TamperingError
from secagg.files import unwritable
from secagg.identity import Identity
from secagg.masking.journal import Received
from secagg.policy import load_policy, render_policy
from secagg.policy.model import Countersigning
from secagg.policy.toml import read_policy
from secagg.transcript import TranscriptWriter
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.hospitals import (
    FEATURES,
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    StoppedHereError,
    StoppingEngine,
    choices_of,
    tabular_spec,
    training_of,
)
from tests.training.field.conftest import FieldSites, any_kit, lay_out
from training import applying
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.field import attendance
from training.field.coordinator_site import Outcome
from training.field.coordinator_status import read_status
from training.field.laying_out import lay_out_hospital
from training.field.spent import as_charged
from training.field.status import SiteState, StatusFile, not_taking_part, released, waiting
from training.hospital_budget import run_epsilon
from training.hospital_logs import open_site_ledger_to_import, read_site_ledger
from training.server_optimizer import StepOverflowError
from training.watching.watched import read_watched
from training.wrong_dealers import WrongDealers


def epoch(sites: FieldSites, serial: int, *drop_outs: DropOut, without: tuple[int, ...] = ()) -> Outcome:
    """One job: the hospitals open, the coordinator runs an epoch, everybody closes."""
    with ExitStack() as opened:
        parties = {
            number: opened.enter_context(site.attend(sites.charter.digest.hex(), serial))
            for number, site in sites.hospitals.items()
            if number not in without
        }
        absent = [DropOut(number, round_, phase) for number in without for round_ in range(9) for phase in Phase]
        engine = EmbeddedEngine(parties, [*drop_outs, *absent])
        return sites.coordinator.run_epoch(sites.charter, engine, serial, {}, lambda _record: None)


def finish(sites: FieldSites, first: int = 1) -> int:
    """Job after job, until there is a release; the last one's number."""
    serial = first
    while not epoch(sites, serial).finished:
        serial += 1
    return serial


def models(sites: FieldSites) -> set[bytes]:
    return {
        b"".join(tensor.tobytes() for _, tensor in sorted(load_file(site.release / "model.safetensors").items()))
        for site in sites.hospitals.values()
    }


def test_jobs_follow_one_another_until_all_have_the_same_release(sites):
    last = finish(sites)
    assert last == 2  # three rounds, two of them in an epoch
    assert len(models(sites)) == 1
    assert sites.coordinator.release.exists()
    assert {site.status.read().state for site in sites.hospitals.values()} == {SiteState.RELEASED}


def test_the_coordinators_status_says_whether_enough_have_signed_for_the_logs(tmp_path):
    sites = lay_out(tmp_path, hospitals=4)
    epoch(sites, 1)
    epoch(sites, 2, *(DropOut(number, 0, Phase.WITNESS) for number in (2, 3, 4)))
    assert (read_status(sites.coordinator).state, read_status(sites.coordinator).witnessed) == ("released", False)
    epoch(sites, 3)
    assert read_status(sites.coordinator).witnessed


def test_who_has_the_release_and_not_the_signatures_for_the_logs_waits_for_another_job(tmp_path):
    """It cannot tell whether the coordinator was killed: the job ends as it does in order."""
    sites = lay_out(tmp_path, hospitals=4)
    epoch(sites, 1)
    epoch(sites, 2, *(DropOut(number, 0, Phase.WITNESS) for number in sites.hospitals))
    assert all(site.release.exists() for site in sites.hospitals.values())
    assert {site.status.read().state for site in sites.hospitals.values()} == {SiteState.WAITING}
    epoch(sites, 3)
    assert {site.status.read().state for site in sites.hospitals.values()} == {SiteState.RELEASED}


def test_its_status_counts_a_sum_that_it_was_stopped_in_giving_out(tmp_path):
    """The round has no record then."""
    sites = lay_out(tmp_path, hospitals=4)
    epoch(sites, 1)
    with ExitStack() as opened:
        digest = sites.charter.digest.hex()
        parties = {number: opened.enter_context(site.attend(digest, 2)) for number, site in sites.hospitals.items()}
        engine = StoppingEngine(parties, Phase.APPLY, 3)
        with pytest.raises(StoppedHereError):
            sites.coordinator.run_epoch(sites.charter, engine, 2, {}, lambda _record: None)
    finish(sites, 3)
    assert [record.step for record in sites.coordinator.rounds.records] == [1, 2]
    assert read_status(sites.coordinator).steps == read_watched(sites.coordinator.path).steps == 3


def test_the_coordinators_status_says_why_its_last_epoch_gave_none(tmp_path):
    sites = lay_out(tmp_path, choices=choices_of(epoch_rounds=3))
    outcome = epoch(sites, 1, DropOut(3, 1, Phase.MASK))
    assert (outcome.reason, outcome.as_error().exit_code) == ("no-sum", 1)
    status = read_status(sites.coordinator)
    assert status.reason == "no-sum"
    assert "Round 1 was given up (too-few-masked), without h3." in status.message


def test_control_one_that_gave_a_sum_came_to_something_whatever_failed_after(tmp_path):
    sites = lay_out(tmp_path, choices=choices_of(epoch_rounds=3))
    assert epoch(sites, 1, DropOut(3, 2, Phase.MASK)).reason is None
    assert (read_status(sites.coordinator).steps, read_status(sites.coordinator).reason) == (1, None)


def test_the_coordinators_status_names_who_dealt_wrongly(sites):
    assert not read_status(sites.coordinator).left_out
    WrongDealers(sites.coordinator.state, sites.charter).add("h2", 3)
    assert read_status(sites.coordinator).left_out == {"h2": 3}


def test_between_jobs_a_hospital_waits_and_says_how_far_it_is(sites):
    epoch(sites, 1)
    status = sites.hospitals[1].status.read()
    assert (status.state, status.steps, status.steps_due, status.name) == (SiteState.WAITING, 2, 3, "h1")


def test_a_hospital_that_was_away_for_an_epoch_ends_with_the_same_model(tmp_path):
    sites = lay_out(tmp_path, hospitals=4)
    epoch(sites, 1, without=(4,))
    finish(sites, 2)
    assert len(models(sites)) == 1


def test_the_same_seeds_make_the_same_model_wherever_it_is_made(tmp_path):
    first, second = lay_out(tmp_path / "first"), lay_out(tmp_path / "second")
    finish(first)
    finish(second)
    assert models(first) == models(second)


def test_a_site_whose_latch_was_set_back_says_so_until_it_is_set_up_again(sites):
    latch = sites.hospitals[1].folder.latch
    older = sites.hospitals[1].path / "older.sqlite"
    nobody_masks = [DropOut(number, round_, Phase.MASK) for number in sites.hospitals for round_ in range(9)]
    epoch(sites, 1, *nobody_masks)
    shutil.copy(latch, older)
    epoch(sites, 2, *nobody_masks)
    shutil.copy(older, latch)
    epoch(sites, 3, *nobody_masks)
    status = sites.hospitals[1].status.read()
    assert (status.state, status.reason) == (SiteState.WAITING, "state-restored")
    assert status.remedy.startswith("Put the newest folder back")
    # Nothing was masked that it does not know of, and by now it knows of the newest epoch.
    epoch(sites, 4, *nobody_masks)
    assert sites.hospitals[1].status.read().reason is None


def test_a_site_that_is_started_again_after_its_release_states_the_sums_that_there_were(tmp_path):
    """Fewer than were due: training had reached its target."""
    choices = choices_of(training_of(rounds=12, local_steps=10), metrics="exact", target=0.6)
    sites = lay_out(tmp_path, choices=choices)
    finish(sites)
    site = sites.hospitals[1]
    ended = site.status.read()
    assert ended.steps < ended.steps_due == 12
    # Also where its last status was lost, or is of an earlier sum.
    for before in (ended, None, replace(ended, steps=1)):
        assert released(waiting("h1", sites.charter, before), site.release).steps == ended.steps


def test_a_release_that_cannot_be_read_keeps_no_status_from_being_written(sites):
    before = replace(waiting("h1", sites.charter, None), steps=2)
    assert released(before, sites.hospitals[1].release).steps == 2


def test_a_site_that_failed_before_the_release_came_gives_no_advice_with_it(sites):
    failed = not_taking_part(RefusedError("budget-exceeded", "It is spent.", remedy="Ask an officer."), "00" * 32)
    status = released(failed, sites.hospitals[1].release)
    assert (status.state, status.reason, status.message, status.remedy) == (SiteState.RELEASED, None, None, None)


def test_a_job_for_another_charter_opens_nothing(sites):
    site = sites.hospitals[1]
    with pytest.raises(RefusedError) as refusal, site.attend("00" * 32, 1):
        pass
    assert refusal.value.reason == "another-charter"
    assert site.status.read().state is SiteState.REFUSED
    assert not site.folder.latch.exists()


def test_what_a_site_had_reached_is_told_also_after_a_job_that_it_refused(tmp_path):
    """Whoever holds the coordinator's key can begin one whenever they like."""
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    epoch(sites, 1)
    site = sites.hospitals[1]
    before = site.status.read()
    with pytest.raises(RefusedError), site.attend("00" * 32, 2):
        pass
    refused = site.status.read()
    assert (refused.state, refused.reason) == (SiteState.REFUSED, "another-charter")
    assert before.epsilon > 0 < before.budget.epsilon
    for what in ("charter", "name", "steps", "steps_due", "epsilon", "budget"):
        assert getattr(refused, what) == getattr(before, what)


def test_of_what_it_had_reached_under_another_charter_only_the_budget_is_told(sites):
    budget = BudgetUse(3.0, 8.0)
    before = replace(waiting("h1", sites.charter, None), steps=2, budget=budget)
    refused = not_taking_part(RefusedError("budget-exceeded", "It is spent."), "00" * 32, before)
    assert (refused.charter, refused.name, refused.steps, refused.steps_due) == ("00" * 32, "", 0, 0)
    assert refused.budget == budget


@pytest.mark.parametrize("in_the_way", ["log", "attending.lock"])
def test_a_site_whose_log_or_lock_cannot_be_written_says_why_it_takes_no_part(sites, in_the_way):
    """It has no log to say it in, and the coordinator alone would know: root had written there, say."""
    site = sites.hospitals[1]
    path = site.path / in_the_way
    path.touch() if in_the_way == "log" else path.mkdir()
    with pytest.raises(SecaggError), site.attend(sites.charter.digest.hex(), 1):
        pass
    status = site.status.read()
    assert (status.state, status.reason) == (SiteState.FAILED, "unwritable")
    assert in_the_way.removesuffix(".lock") in status.message


@pytest.mark.parametrize(
    "said",
    ["00" * 32, "\x1b[2J[/red]", 5, None, ["a"], {"a": 1}, "x" * 2_000_000],
    ids=["another", "for the terminal", "a number", "nothing", "a list", "a mapping", "without end"],
)
def test_what_a_job_says_of_its_charter_is_in_no_file_of_the_site(sites, said):
    """A status that cannot be read would end the site, and no job could be begun there any more."""
    site = sites.hospitals[1]
    with pytest.raises(RefusedError) as refusal, site.attend(said, 1):
        pass
    assert refusal.value.reason == "another-charter"
    status = site.status.read()
    assert (status.state, status.charter) == (SiteState.REFUSED, sites.charter.digest.hex())


@pytest.mark.parametrize("number", ["6", 6.0, 1e300, float("nan"), True, None, [6], 0, -1, 2**63, 2**64, 2**70])
def test_a_job_whose_number_is_none_is_refused_and_the_next_one_is_taken(sites, number):
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with pytest.raises(RefusedError) as refusal, site.attend(digest, number):
        pass
    assert refusal.value.reason == "malformed-serial"
    assert not site.serials.exists()
    with site.attend(digest, 6):
        pass


def test_an_error_that_nobody_foresaw_is_told_by_its_kind_alone(sites):
    site = sites.hospitals[2]
    site.settings.write_text(f'data = "{sites.materials[2].settings.data}"\npassphrase_file = "\\u0000"\n')
    with pytest.raises(ValueError, match="null"), site.attend(sites.charter.digest.hex(), 1):
        pass
    status = site.status.read()
    assert (status.state, status.reason) == (SiteState.FAILED, "internal")
    assert "ValueError" in status.message
    assert "null" not in status.message + site.log.read_text()


def test_a_second_job_opens_nothing_while_one_is_going_on(sites):
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with site.attend(digest, 5):
        before = site.status.read()
        with pytest.raises(SecaggError) as refusal, site.attend(digest, 6):
            pass
        assert refusal.value.reason == "state-in-use"
        assert site.status.read() == before
    with site.attend(digest, 6):
        pass


@pytest.mark.parametrize("again", [5, 4])
def test_a_job_that_was_taken_is_not_taken_again_nor_one_before_it(sites, again):
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with site.attend(digest, 5):
        pass
    with pytest.raises(RefusedError) as refusal, site.attend(digest, again):
        pass
    assert refusal.value.reason == "job-replayed"


def test_control_without_its_number_a_replayed_job_opens_the_hospital_again(sites):
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with site.attend(digest, 5):
        pass
    site.serials.unlink()
    with site.attend(digest, 5) as attendance:
        assert attendance is not None


def test_a_number_is_taken_before_anything_else_of_a_job_is_done(sites):
    site = sites.hospitals[1]
    site.folder.policy.write_text("minimum_cohort = 4\n")
    with pytest.raises(RefusedError), site.attend(sites.charter.digest.hex(), 5):
        pass
    site.folder.policy.unlink()
    with pytest.raises(RefusedError) as refusal, site.attend(sites.charter.digest.hex(), 5):
        pass
    assert refusal.value.reason == "job-replayed"


def test_a_hospital_without_its_records_says_what_to_do_and_stays_closed(sites):
    site = sites.hospitals[2]
    site.settings.write_text('data = "gone.csv"\n')
    with pytest.raises(SecaggError), site.attend(sites.charter.digest.hex(), 1):
        pass
    status = site.status.read()
    assert status.state is SiteState.FAILED
    assert "gone.csv" in status.message
    line = json.loads(site.log.read_text().splitlines()[-1])
    assert (line["event"], line["reason"]) == ("cannot take part", status.reason)
    assert not site.folder.latch.exists()


def test_a_hospital_can_be_opened_again_after_it_refused(sites):
    site, settings = sites.hospitals[2], sites.hospitals[2].settings.read_bytes()
    site.settings.write_text('data = "gone.csv"\n')
    with pytest.raises(SecaggError), site.attend(sites.charter.digest.hex(), 1):
        pass
    site.settings.write_bytes(settings)
    finish(sites, 2)
    assert len(models(sites)) == 1


def test_a_hospital_s_log_and_status_hold_no_record(sites):
    finish(sites)
    site = sites.hospitals[1]
    told = site.log.read_text() + (site.path / "status.json").read_text()
    values = [line.split(",")[0] for line in Path(sites.materials[1].settings.data).read_text().splitlines()[1:]]
    assert values
    assert not [value for value in values if value in told]


def test_a_site_logs_and_states_once_that_its_budget_runs_out(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    roomy, full = sites.hospitals[1], sites.hospitals[2]
    raise_epsilon(roomy, 14.0)
    finish(sites)
    alerts = {site: [line for line in log_of(site) if line["event"] == "budget alert"] for site in (roomy, full)}
    # One log line a job: whoever reads only today's log is told too.
    assert {line["percent"] for line in alerts[roomy]} == {50}
    assert {line["percent"] for line in alerts[full]} == {100}
    assert len(alerts[full]) == 2
    assert "no further run fits" in alerts[full][0]["message"]
    assert (roomy.status.read().budget.alert, full.status.read().budget.alert) == (50, 100)


def test_a_site_with_half_of_its_budget_left_says_nothing(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    site = sites.hospitals[1]
    raise_epsilon(site, 80.0)
    with site.attend(sites.charter.digest.hex(), 1):
        pass
    assert not [line for line in log_of(site) if line["event"] == "budget alert"]
    assert site.status.read().budget.alert == 0


@pytest.fixture
def seldom_told(monkeypatch):
    """Nothing is written down again but what is news."""
    monkeypatch.setattr(attendance, "_BETWEEN_SECONDS", float("inf"))


@pytest.mark.usefixtures("seldom_told")
def test_a_site_that_is_killed_once_its_vector_has_left_has_told_what_that_cost(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with ExitStack() as opened:
        parties = {number: opened.enter_context(each.attend(digest, 1)) for number, each in sites.hospitals.items()}
        assert site.status.read().epsilon == 0
        engine = StoppingEngine(parties, Phase.REVEAL, 1)
        with pytest.raises(StoppedHereError):
            sites.coordinator.run_epoch(sites.charter, engine, 1, {}, lambda _record: None)
        killed = site.status.read()
    assert killed.state is SiteState.TRAINING
    assert killed.epsilon == epsilon_charged(sites, site) > 0


@pytest.mark.usefixtures("seldom_told")
def test_control_a_message_that_costs_nothing_is_no_reason_to_write_a_status(tmp_path, monkeypatch):
    told = []
    write = StatusFile.write
    monkeypatch.setattr(StatusFile, "write", lambda file, status: (told.append(status.epsilon), write(file, status)))
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    epoch(sites, 1)
    # Each of three as it opens, for each of two rounds, and as it closes.
    assert len(told) == 3 * 4
    assert len(set(told)) == 3


def test_a_status_that_was_written_before_the_last_charge_is_put_right_by_the_ledger(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    site = sites.hospitals[1]
    with site.attend(sites.charter.digest.hex(), 1):
        before = site.status.read()
    assert as_charged(before, site, sites.charter) == before
    epoch(sites, 2)
    assert before.epsilon == 0
    right = as_charged(before, site, sites.charter)
    assert right == replace(before, epsilon=epsilon_charged(sites, site))
    assert right.epsilon == site.status.read().epsilon > 0
    # What cannot be read keeps nobody from being told the rest.
    site.folder.ledger.write_bytes(b"no ledger")
    assert as_charged(before, site, sites.charter) == before


def epsilon_charged(sites, site):
    _, account = read_site_ledger(site.folder, Identity.load(site.folder.identity).public_key)
    return run_epsilon(account, sites.charter)


def test_a_site_logs_once_a_job_which_columns_are_the_same_at_all_hospitals(tmp_path):
    sites = lay_out(tmp_path, spec=tabular_spec(**SCALED_BY_SUMS))
    for material in sites.materials.values():
        path = Path(material.settings.data)
        header, *rows = [line.split(",") for line in path.read_text().splitlines()]
        assert header[0] == FEATURES[0]
        path.write_text("\n".join(map(",".join, [header, *(["120", *row[1:]] for row in rows)])) + "\n")
    jobs = finish(sites)
    for site in sites.hospitals.values():
        told = [line for line in log_of(site) if line["event"] == "statistics"]
        assert [line["reason"] for line in told] == ["constant-columns"] * jobs
        assert told[0]["message"].endswith(f"left out of account by the model: {FEATURES[0]}.")


def test_a_site_logs_that_rows_were_left_out_when_it_read_them_and_nobody_else_learns_of_it(tmp_path):
    sites = lay_out(tmp_path, spec=tabular_spec(missing="drop-row"))
    path = Path(sites.materials[1].settings.data)
    header, *rows = path.read_text().splitlines()
    emptied = [*rows[:-5], *(f",{row.partition(',')[2]}" for row in rows[-5:])]
    path.write_text("\n".join([header, *emptied]) + "\n")
    epoch(sites, 1)
    told = {site.path.name: log_of(site) for site in sites.hospitals.values()}
    (caution,) = [line for line in told["h1"] if line["event"] == "caution"]
    assert caution["reason"] == "rows-left-out"
    assert caution["message"].endswith("are used; 5 lack a value (age 5).")
    assert not [line for name in ("h2", "h3") for line in told[name] if line["event"] == "caution"]
    files = [file for file in sites.coordinator.path.rglob("*") if file.is_file()]
    assert files
    assert not any(b"rows-left-out" in file.read_bytes() or b"lack a value" in file.read_bytes() for file in files)


def test_a_site_logs_that_a_sum_changes_nothing_as_a_caution_and_not_as_something_it_refused(tmp_path, monkeypatch):
    def overflowing(*_):
        raise StepOverflowError(
            "model-not-finite", "Step 1 makes the model infinite.", remedy="Lower the learning rate."
        )

    sites = lay_out(tmp_path)
    monkeypatch.setattr(applying, "apply", overflowing)
    epoch(sites, 1)
    for site in sites.hospitals.values():
        told = [line for line in log_of(site) if line["level"] == "warning"]
        assert [(line["event"], line["reason"]) for line in told] == [("caution", "model-not-finite")] * 2
        assert told[0]["message"].startswith("The sum of round 1 counts, and changes nothing.")
        assert told[0]["remedy"] == "Lower the learning rate."


def test_a_policy_with_officers_is_in_force_from_the_day_the_site_is_made(tmp_path):
    sites = lay_out(tmp_path)
    material = sites.materials[1]
    officers = frozenset(Identity.generate().public_key for _ in range(2))
    policy = replace(load_policy(sites.hospitals[1].folder.policy), countersigning=Countersigning(officers=officers))
    (tmp_path / "policy.toml").write_bytes(render_policy(policy))
    site = lay_out_hospital(tmp_path / "held", dataclasses.replace(material, policy=tmp_path / "policy.toml"), any_kit)
    raise_epsilon(site, 80.0)
    with pytest.raises(RefusedError) as refusal, site.attend(sites.charter.digest.hex(), 1):
        pass
    assert refusal.value.reason == "policy-loosened"
    assert site.status.read().state is SiteState.REFUSED


@pytest.fixture
def lost(tmp_path):
    """A site that has spent its budget, and its ledger's export: all that is left of it."""
    sites = lay_out(tmp_path / "lost", choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    finish(sites)
    folder = sites.hospitals[1].folder
    file = tmp_path / "old.json"
    file.write_bytes(export_ledger(folder.ledger, Identity.load(folder.identity)))
    return read_export(file, Identity.load(folder.identity).public_key)


@pytest.fixture
def afresh(tmp_path):
    """The same patients at sites with new identities, none of which has taken part in a run."""
    return lay_out(tmp_path / "afresh", choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)


def test_what_a_lost_site_spent_is_in_the_new_ones_ledger_before_its_first_run_and_counts_in_it(lost, afresh):
    site = afresh.hospitals[1]
    identity = Identity.load(site.folder.identity)
    with open_site_ledger_to_import(site.folder, identity, lost) as ledger:
        assert ledger.take_over(lost) > 0
    for serial in (1, 2):
        with pytest.raises(RefusedError) as refusal, site.attend(afresh.charter.digest.hex(), serial):
            pass
        assert refusal.value.reason == "budget-exceeded"
    entries, _ = read_site_ledger(site.folder, identity.public_key)
    assert all(entry.origin for entry in entries)
    # From here on it is a ledger like any other.
    for file in site.path.glob("ledger.sqlite*"):
        file.unlink()
    with pytest.raises(TamperingError) as tampering:
        read_site_ledger(site.folder, identity.public_key)
    assert tampering.value.reason == "ledger-restored"


def test_control_a_new_site_that_imports_nothing_spends_its_patients_budget_again(lost, afresh):
    with afresh.hospitals[1].attend(afresh.charter.digest.hex(), 1):
        pass


def raise_epsilon(site, epsilon):
    policy = read_policy(site.folder.policy)
    site.folder.policy.write_bytes(render_policy(replace(policy, maximum_epsilon=epsilon)))


def log_of(site):
    return [json.loads(line) for line in site.log.read_text().splitlines()]


def test_one_that_ends_because_somebody_was_caught_says_so_in_the_exit_code_and_by_name(tmp_path):
    sites = lay_out(tmp_path)
    epoch(sites, 1)
    (sites.coordinator.state / "coordinator.json").write_text("{")
    error = epoch(sites, 2).as_error()
    assert (error.reason, error.exit_code) == ("damaged-coordinator-state", 4)
    assert error.culprit.endswith("coordinator.json")


def test_one_whose_disk_fills_in_a_round_says_that_its_own_site_is_to_be_put_right(tmp_path, monkeypatch):
    sites = lay_out(tmp_path)
    write = TranscriptWriter.__call__

    def with_no_room_for_a_vector(transcript, event):
        if isinstance(event, Received) and peek(event.message).stage is Stage.MASKED:
            raise unwritable(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        write(transcript, event)

    monkeypatch.setattr(TranscriptWriter, "__call__", with_no_room_for_a_vector)
    epoch(sites, 1)
    error = sites.coordinator.outcome(1).as_error()
    assert (error.reason, error.exit_code) == ("unwritable", 2)


def test_an_epoch_that_comes_to_nothing_says_why(tmp_path):
    sites = lay_out(tmp_path)
    outcome = epoch(sites, 1, without=(1, 2))
    assert not outcome.finished
    assert outcome.as_error().reason == outcome.reason
    assert sites.coordinator.outcome(1) == outcome
    assert sites.coordinator.outcome(2) is None
