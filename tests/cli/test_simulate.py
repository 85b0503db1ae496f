"""`secagg simulate`: a run on one's own data; where it cannot be, one line says why, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys

import msgspec
import pytest

from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from dp.stated import no_less
from secagg.charter.folder import read_verified
from secagg.charter.sections import LARGEST_FACTOR
from secagg.errors import InputError
from secagg.identity import Identity
from secagg.policy import check_charter, load_policy, render_policy
from secagg.signed_log import read_log
from tests.cli.conftest import LOCAL_DP, SHORT, TASK, furnished
from tests.cli.outcome import (
    FAILED,
    INTERRUPTED,
    REFUSED,
    TAMPERING,
    UNUSABLE,
    Outcome,
    contents,
    flip,
    nothing_written,
)
from tests.support.hospitals import write_tables
from tests.support.lacking_tenseal import without_tenseal
from training.devices import resolve_device
from training.run_lock import alone
from training.simulation_folder import read_settings

HEADER = "age,dose,ill\n"


def table(rows="1,2,0\n3,4,1\n"):
    return HEADER + 4 * rows


def entries(home):
    key = Identity.load(home / "identity.pem").public_key
    return read_log(home / "ledger.sqlite", key, LEDGER) if (home / "ledger.sqlite").exists() else ()


# A run


def test_a_run_ends_with_a_table_a_release_and_how_to_check_it(secagg, simulate, here):
    shown = simulate("--drop", "h3:1:reveal", "--colluding", "0").shown
    assert "3 of 3" in shown
    assert "h3, after sending" in shown
    assert "How the model compares" not in shown
    assert "together, nobody sees an update" in shown
    assert shown.endswith("Check it: secagg model verify run/release")
    assert {path.name for path in (here / "run").iterdir()} == {
        "charter",
        "coordinator",
        "history.jsonl",
        "hospitals",
        "release",
        "running.lock",
        "simulation.json",
    }
    assert secagg("model", "verify", "run/release").code == 0
    assert secagg("charter", "verify", "run/charter").code == 0


def test_the_result_as_json_says_the_same(secagg, consortium):
    result = secagg("simulate", "--resume", consortium / "run", "--json").json
    assert result["folder"] == str(consortium / "run")
    assert result["charter"] == read_verified(consortium / "run/charter").digest.hex()
    assert [(row["record"]["round"], row["record"]["dropped"]) for row in result["rounds"]] == [(1, ["h2"]), (2, [])]
    assert 0 < result["rounds"][0]["epsilon"] < result["rounds"][1]["epsilon"] <= 8
    assert "together, nobody sees an update, epsilon 8 " in secagg("simulate", "--resume", consortium / "run").shown
    assert result["comparison"] is None
    assert result["terms"] == {
        "scheme": "mask",
        "privacy": "local",
        "epsilon": 8.0,
        "delta": 1e-5,
        "rounds": 2,
        "local_steps": 1,
        "seed": 0,
    }
    assert result["federated"]["patients"] > 0


def test_where_tenseal_cannot_be_loaded_an_encrypted_simulation_says_so(secagg, here):
    arguments = ["--task", "task.toml", "--data", "data", "--out", "run", *SHORT]
    with without_tenseal():
        outcome = secagg("simulate", *arguments, "--scheme", "double-lock")
    outcome.failed(UNUSABLE, "no-tenseal", "TenSEAL cannot be loaded", "choose the scheme mask")


def test_with_a_comparison_pooled_and_alone_are_shown_too(secagg, here):
    options = ["--rounds", "1", "--local-steps", "1", "--device", "cpu"]
    shown = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *options).shown
    assert "How the model compares" in shown
    assert "all records pooled, same steps, no protection" in shown
    assert "h2 alone" in shown
    assert "Each is trained for 1 steps with the same settings" in shown
    assert (
        "The second line shows what federating costs. It is no upper limit: with more steps it may be better." in shown
    )
    assert "--dp none" not in shown


def test_a_comparison_with_noise_is_made_once_and_says_what_it_does_not_show(secagg, here):
    bounds = "[data.bounds]\nage = [-4, 4]\ndose = [-4, 4]\n"
    (here / "task.toml").write_text(TASK.replace('"none"', '"bounds"') + bounds)
    options = ["--rounds", "1", "--local-steps", "1", "--device", "cpu", *LOCAL_DP]
    shown = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *options).shown
    assert "it shows neither what federating nor what privacy costs." in shown
    assert "shows what federating costs" not in shown
    first = secagg("simulate", "--resume", "run", "--json").json
    compared = first["comparison"]
    assert compared["steps"] == 1
    assert [name for name, _ in compared["alone"]] == ["h1", "h2", "h3"]
    assert f"{100 * compared['curator']['accuracy']:.1f} %" in shown
    assert secagg("simulate", "--resume", "run", "--json").json == first
    # The control: what is trained anew has other noise.
    others = []
    for _ in range(8):
        (here / "run/comparison.jsonl").unlink()
        others.append(secagg("simulate", "--resume", "run", "--json").json["comparison"])
    assert any(other != compared for other in others)


def test_a_comparison_that_is_damaged_is_refused_and_may_be_removed(secagg, here):
    options = ["--rounds", "1", "--local-steps", "1", "--device", "cpu"]
    assert secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *options).code == 0
    kept = here / "run/comparison.jsonl"
    kept.write_text("{}\n")
    secagg("simulate", "--resume", "run").failed(UNUSABLE, "damaged-comparison", kept.name, "Remove it")
    kept.unlink()
    assert secagg("simulate", "--resume", "run").code == 0


def test_a_comparison_that_took_other_steps_is_made_anew(secagg, here):
    options = ["--rounds", "1", "--local-steps", "2", "--device", "cpu"]
    assert secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *options).code == 0
    kept = here / "run/comparison.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]

    def shown_of(steps):
        written = [{**line, "steps": steps, "metrics": {**line["metrics"], "patients": 99_999}} for line in lines]
        kept.write_text("".join(json.dumps(line) + "\n" for line in written))
        return secagg("simulate", "--resume", "run", "--json").json["comparison"]["pooled_same_steps"]["patients"]

    assert shown_of(2) == 99_999
    assert shown_of(1) < 99_999


@pytest.mark.parametrize(
    "data",
    [
        ("--data", "data/h1.csv", "--data", "two=data/h2.csv", "--data", "data/h3.csv"),
        ("--data", "all.csv", "--site-column", "site"),
        ("--data", "all.csv", "--split", "iid", "--hospitals", "3"),
        ("--data", "all.csv", "--split", "dirichlet:0.5", "--hospitals", "4", "--test", "test.csv"),
    ],
    ids=["each", "site-column", "iid", "dirichlet"],
)
def test_records_may_be_divided_in_each_of_these_ways(simulate, here, data):
    (here / "test.csv").write_text(table())
    rows = [line for number in (1, 2, 3) for line in (here / f"data/h{number}.csv").read_text().splitlines()[1:]]
    lines = [f"{line},site-{number % 3}" for number, line in enumerate(sorted(rows, key=lambda row: row[-1]))]
    (here / "all.csv").write_text("\n".join(["age,dose,ill,site", *lines]) + "\n")
    assert simulate(data=data).code == 0


def test_where_a_patient_may_have_been_trained_on_the_table_says_no_more_that_nobody_was(simulate, here):
    one = (here / "data/h2.csv").read_text().splitlines()[1]
    (here / "test.csv").write_text(f"{table()}{one}\n")
    outcome = simulate("--test", "test.csv")
    assert "[test-patients-trained-on]" in outcome.err
    assert "on the test patients: see the warning" in outcome.out
    assert "that no hospital trained on" not in outcome.out


def test_control_of_patients_that_are_at_no_hospital_it_says_so(simulate, here):
    (here / "test.csv").write_text(table())
    outcome = simulate("--test", "test.csv")
    assert "[test-patients-trained-on]" not in outcome.err
    assert "on rows that no hospital trained on" in outcome.out


def name_patients(here):
    """A column with a name for each row, of no two hospitals the same, and a task that knows it."""
    for path in (here / "data").glob("*.csv"):
        head, *rows = path.read_text().splitlines()
        named = [f"{path.stem}-{place},{row}" for place, row in enumerate(rows)]
        path.write_text("\n".join([f"who,{head}", *named]) + "\n")
    (here / "task.toml").write_text(TASK.replace("[data]\n", '[data]\npatient = "who"\n'))


def test_where_the_task_names_no_patient_column_accuracy_and_epsilon_are_said_to_be_of_rows(simulate):
    shown = simulate(*LOCAL_DP).shown
    assert "Accuracy and AUC are on rows that no hospital trained on." in shown
    assert "Epsilon is the most that any row has spent at one hospital in this run so far" in shown


def test_control_where_it_names_one_they_are_of_patients(simulate, here):
    name_patients(here)
    shown = simulate(*LOCAL_DP).shown
    assert "Accuracy and AUC are on patients that no hospital trained on." in shown
    assert "Epsilon is the most that any patient has spent at one hospital in this run so far" in shown


UNPROTECTED = "The model is not protected: it may reveal individual patients. Noise limits that: see --dp."


def test_without_differential_privacy_it_is_said_that_the_model_is_not_protected(simulate):
    assert UNPROTECTED in simulate().shown


def test_control_with_it_it_is_not(simulate):
    assert "not protected" not in simulate(*LOCAL_DP).shown


def test_what_the_table_says_was_spent_is_said_of_this_run_and_not_of_the_whole_ledger(simulate, secagg, here):
    kept = ("--hospitals-at", "run/hospitals")
    first = simulate(*LOCAL_DP, "--json").json
    for path in (here / "run/hospitals").glob("*/policy.toml"):
        path.write_text(path.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 30.0"))
    second = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "second", *SHORT, *LOCAL_DP, *kept)
    assert second.code == 0
    (ledger,) = secagg("budget", "show", "run/hospitals/h1", "--json").json
    assert ledger["epsilon"] > 1.2 * first["rounds"][-1]["epsilon"]
    assert (
        "Epsilon is the most that any row has spent at one hospital in this run so far, by the ledgers." in second.shown
    )


def test_hidden_files_beside_the_data_and_a_byte_order_mark_do_no_harm(simulate, here):
    (here / "data/.DS_Store").write_bytes(b"\x00")
    path = here / "data/h2.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert simulate().code == 0


def test_a_run_may_be_taken_up_from_another_folder(secagg, simulate, here, monkeypatch):
    (here / "test.csv").write_text(table())
    assert simulate("--test", "test.csv").code == 0
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert secagg("simulate", "--resume", "../run").code == 0


def test_a_folders_name_is_shown_so_that_the_command_can_be_copied(secagg, here):
    options = ["--rounds", "1", "--local-steps", "1", "--device", "cpu", "--no-compare"]
    shown = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "my [red]run", *options).shown
    assert "secagg model verify 'my [red]run/release'" in shown


# Schemes


class StoppedHereError(Exception):
    """The run was laid out, and would begin now."""


@pytest.fixture
def laid_out(simulate, here, monkeypatch):
    """Lays a run out, runs none of it, and gives its charter."""

    def stop(folder, as_json):
        raise StoppedHereError

    monkeypatch.setattr("cli.simulate_run.follow", stop)

    def call(*options):
        assert "StoppedHereError" in simulate(*options).err
        return read_verified(here / "run/charter").charter

    return call


@pytest.mark.parametrize(
    ("chosen", "scheme"),
    [("mask", "mask"), ("double-lock", "double-lock"), ("he", "double-lock"), ("bfv", "bfv"), ("ckks", "ckks")],
)
def test_the_chosen_scheme_is_in_the_charter_and_in_every_policy(laid_out, here, chosen, scheme):
    charter = laid_out("--scheme", chosen)
    assert charter.scheme == scheme
    for member in charter.members:
        policy = load_policy(here / "run/hospitals" / member.name / "policy.toml")
        assert policy.allowed_schemes == {scheme}
        check_charter(charter, policy)


def test_the_chosen_parameters_are_in_the_charter(laid_out):
    assert laid_out("--scheme", "he", "--homomorphic", "n8192-q60").homomorphic.parameters == "n8192-q60"


@pytest.mark.parametrize(
    "options",
    [
        ("--batch-size", "8", "--momentum", "0.9", "--weight-decay", "1e-4", "--prox-mu", "0.1"),
        (*LOCAL_DP, "--epsilon", "3", "--delta", "1e-6", "--clip", "2", "--momentum", "0.9", "--learning-rate", "0.2"),
        ("--metrics", "exact", "--metrics-every", "2"),
        ("--server", "momentum", "--server-momentum", "0.5"),
    ],
    ids=lambda options: " ".join(options),
)
def test_an_option_that_does_something_is_taken(laid_out, options):
    assert laid_out(*options).members


def test_a_scheme_is_not_chosen_again_when_a_run_is_taken_up(secagg, laid_out, here):
    laid_out("--scheme", "he")
    outcome = secagg("simulate", "--resume", "run", "--scheme", "mask")
    outcome.failed(UNUSABLE, "usage", "--resume takes all settings from the folder", "--scheme")


@pytest.mark.parametrize("phase", ["agree", "reveal"])
def test_a_drop_out_that_would_never_come_is_refused(simulate, here, phase):
    with nothing_written(here):
        outcome = simulate("--scheme", "bfv", "--colluding", "0", "--drop", f"h3:1:{phase}")
    outcome.failed(UNUSABLE, "bad-drop-out", f"h3:1:{phase}", "the scheme bfv asks it nothing more")


def test_the_result_as_json_holds_the_warnings(simulate, secagg, consortium):
    (warning,) = simulate("--scheme", "bfv", "--json").json["warnings"]
    assert warning["code"] == "shared-key"
    assert "double-lock" in warning["remedy"]
    assert secagg("simulate", "--resume", consortium / "run", "--json").json["warnings"] == []


@pytest.mark.parametrize(
    ("options", "code", "mentions"),
    [
        (("--warm-up", "2"), "warm-up-too-long", "rises over 2 rounds, and there are 2: it never comes to 1"),
        (("--dropout", "0.9"), "unused-dropout", "--dropout 0.9 changes nothing"),
    ],
)
def test_settings_that_do_not_do_what_they_seem_to_are_told(simulate, secagg, options, code, mentions):
    outcome = simulate(*options)
    assert outcome.code == 0
    assert_one_warning(outcome, code, mentions)
    (warning,) = secagg("simulate", "--resume", "run", "--json").json["warnings"]
    assert warning["code"] == code


@pytest.mark.parametrize("options", [("--warm-up", "1"), ("--dropout", "0.1")])
def test_control_of_settings_that_do_it_nothing_is_told(simulate, options):
    assert simulate(*options, "--json").json["warnings"] == []


SHARED_NOISE = ("--dp", "distributed", "--sampling-rate", "1", "--epsilon", "50", "--rounds", "1", "--no-compare")


@pytest.mark.parametrize(("batch", "told"), [(5000, True), (2, True), (30, False), (None, False)])
def test_a_batch_that_is_far_from_what_is_expected_is_told(secagg, here, batch, told):
    of_batch = ("--batch-size", batch) if batch else ()
    outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *SHARED_NOISE, *of_batch)
    assert outcome.code == 0, outcome.err
    if told:
        assert_one_warning(outcome, "another-batch", f"divided by {batch} patients")
    else:
        assert outcome.err == ""


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_delta_of_one_over_the_patients_or_more_is_told(secagg, here, mode):
    write_tables(here / "data", 3, rows=80)
    options = ("--dp", mode, "--epsilon", "50", "--rounds", "1", "--no-compare", "--delta", "0.0099")
    outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *options)
    assert outcome.code == 0, outcome.err
    assert_one_warning(outcome, "delta-too-large", "Delta is 0.0099")


def test_control_of_a_delta_below_that_nothing_is_told(simulate):
    assert simulate(*LOCAL_DP, "--delta", "0.0099").err == ""


def assert_one_warning(outcome, code, mentions):
    (line,) = outcome.err.splitlines()
    assert line.startswith("Warning: ")
    assert line.endswith(f"[{code}]")
    assert mentions in line


# Records that cannot be used


@pytest.mark.parametrize(
    ("content", "reason", "mentions"),
    [
        (table().replace("ill", "sick"), "missing-label-column", ["no column 'ill'", "age, dose, sick"]),
        (table().replace("dose", "dosis"), "missing-column", ["'dose'", "age, dosis, ill"]),
        ("", "empty-site", ["is empty"]),
        (HEADER, "empty-site", ["no records"]),
        (table("1,nan,0\n2,3,1\n"), "nan-features", ["'dose'", "record 1", "missing = 'drop-row'"]),
        (table("1,1e400,0\n2,3,1\n"), "nan-features", ["'dose'"]),
        (table("1,,0\n2,3,1\n"), "missing-value", ["line 2", "'dose'", "drop-row"]),
        (table("1,much,0\n2,3,1\n"), "not-a-number", ["line 2", "'much'"]),
        (table("1,2,1\n2,3,1\n"), "one-class-site", ["label 1", "label column"]),
        (table("1,2,0\n2,3,7\n"), "bad-labels", ["line 3", "'7'", "positive_above"]),
        (table("1,2,0\n2,3\n"), "ragged-row", ["line 3", "2 cells"]),
        (table().replace("dose", "age"), "duplicate-column", ["'age'"]),
        (table() + '"1,2,0\n', "unreadable-file", ["quotation marks"]),
        (table().replace(",", ";"), "other-separator", ["semicolons", "with commas between the cells"]),
        ("age,dose,ill\nMüller,2,1\n".encode("latin-1"), "unreadable-file", ["UTF-8"]),
        (b"\x00\xff\xfe", "unreadable-file", ["UTF-8"]),
    ],
)
def test_records_that_cannot_be_used_are_named_and_nothing_is_written(simulate, here, content, reason, mentions):
    (here / "data/h2.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with nothing_written(here):
        simulate().failed(UNUSABLE, reason, "data/h2.csv", *mentions)


@pytest.mark.parametrize(
    ("data", "reason", "mentions"),
    [
        (["data/h1.csv"], "one-hospital", ["data/h1.csv", "--split"]),
        (["data/h1.csv", "data/none.csv", "data/h3.csv"], "unreadable-file", ["data/none.csv", "No such file"]),
        (["data/h1.csv", "data/h1.csv", "data/h3.csv"], "duplicate-site", ["h1", "--data cleveland=path"]),
        (["a=data/h1.csv", "a=data/h2.csv", "b=data/h3.csv"], "duplicate-site", ["a.", "--data cleveland=path"]),
        (["data/h1.csv", "data/h2.csv"], "too-few-members", ["3 hospitals or more", "this one 2"]),
        (["data", "data/h1.csv"], "unknown-format", ["data", ".csv"]),
        (["empty"], "empty-folder", ["empty", "one file per hospital"]),
    ],
)
def test_data_that_make_no_consortium_are_refused(simulate, here, data, reason, mentions):
    (here / "empty").mkdir()
    with nothing_written(here):
        outcome = simulate(data=tuple(part for path in data for part in ("--data", path)))
    outcome.failed(UNUSABLE, reason, *mentions)


def test_a_stray_file_in_the_folder_of_data_is_named(simulate, here):
    (here / "data/notes.pdf").write_text("minutes of the meeting")
    with nothing_written(here):
        simulate().failed(UNUSABLE, "unknown-format", "data/notes.pdf", ".csv")


def test_a_folder_of_data_that_does_not_exist_is_said_not_to_exist(simulate, here):
    with nothing_written(here):
        simulate(data=("--data", "nowhere")).failed(UNUSABLE, "unreadable-file", "nowhere: No such file or folder.")


def test_a_path_that_is_no_text_is_named_and_nothing_is_written(simulate, here):
    folder = os.fsdecode(b"d\xff")
    (here / "data").rename(here / folder)
    for options, data in (
        ((), ("--data", folder)),
        (("--test", f"{folder}/h3.csv"), ("--data", "h.csv", "--split", "iid", "--hospitals", "3")),
        (("--hospitals-at", f"{folder}/at"), ("--data", "h.csv", "--split", "iid", "--hospitals", "3")),
    ):
        (here / "h.csv").write_bytes((here / folder / "h1.csv").read_bytes())
        with nothing_written(here):
            error = simulate(*options, "--json", data=data).error
        assert error["reason"] == "path-not-text"
        assert "d\\udcff" in error["culprit"]


def test_test_records_that_do_not_exist_are_named(simulate, here):
    with nothing_written(here):
        simulate("--test", "data/none.csv").failed(UNUSABLE, "unreadable-file", "data/none.csv")


@pytest.mark.parametrize(
    ("options", "reason", "mentions"),
    [
        (["--split", "iid"], "no-hospitals", ["--hospitals 8"]),
        (["--split", "fairly", "--hospitals", "3"], "bad-split", ["'fairly'", "'iid'"]),
        (["--split", "dirichlet:0", "--hospitals", "3"], "bad-split", ["'dirichlet:0'"]),
        (["--split", "iid", "--hospitals", "300"], "too-few-patients", ["300 hospitals. Use fewer hospitals, or more"]),
        (["--site-column", "ward"], "missing-column", ["'ward'", "age, dose, ill. Give one", "with --site-column"]),
        (["--site-column", "age"], "site-column-is-a-feature", ["'age'", "data.drop"]),
    ],
)
def test_one_file_that_cannot_be_divided_so_is_refused(simulate, here, options, reason, mentions):
    with nothing_written(here):
        simulate(*options, data=("--data", "data/h1.csv")).failed(UNUSABLE, reason, *mentions)


def test_a_name_before_the_one_file_of_all_is_no_part_of_its_path(simulate):
    assert simulate("--split", "iid", "--hospitals", "3", data=("--data", "all=data/h3.csv")).code == 0


def test_an_equals_sign_in_a_folders_name_makes_no_name(secagg, simulate, here, monkeypatch):
    (here / "lr=0.1").mkdir()
    furnished(here / "lr=0.1")
    assert simulate(data=("--data", "./lr=0.1/data")).code == 0
    monkeypatch.chdir(here / "lr=0.1")
    data = ("--data", "one=data/h1.csv", "--data", "data/h2.csv", "--data", "data/h3.csv")
    assert simulate(data=data).code == 0
    assert [member.name for member in read_verified(here / "lr=0.1/run/charter").charter.members] == ["one", "h2", "h3"]


@pytest.mark.parametrize("name", ["St. Mary", "Köln", "-h1", "", 70 * "x"])
def test_a_hospitals_name_that_no_charter_can_hold_is_named(simulate, here, name):
    data = ("--data", f"{name}=data/h1.csv", "--data", "data/h2.csv", "--data", "data/h3.csv")
    with nothing_written(here):
        simulate(data=data).failed(UNUSABLE, "bad-name", f"{name!r} ", "data/h1.csv", "letters", "hyphens")


def test_what_holds_a_slash_is_no_name_but_a_path(simulate, here):
    data = ("--data", "a/b=data/h1.csv", "--data", "data/h2.csv", "--data", "data/h3.csv")
    with nothing_written(here):
        simulate(data=data).failed(UNUSABLE, "unreadable-file", "a/b=data/h1.csv: No such file")


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "..", "", "ward 3"])
def test_a_hospitals_name_from_a_table_never_leads_out_of_the_runs_folder(simulate, here, name):
    rows = "".join(f"{line},{site}\n" for site in (name, "b", "c") for line in 4 * ("1,2,0", "3,4,1"))
    (here / "all.csv").write_text("age,dose,ill,site\n" + rows)
    with nothing_written(here):
        outcome = simulate(data=("--data", "all.csv", "--site-column", "site"))
    outcome.failed(UNUSABLE, "bad-name", repr(name), f"all.csv (site = {name})", "in the column 'site'", "letters")


def test_a_tasks_file_may_be_called_anything(secagg, here):
    (here / "task.toml").rename(here / "our task (2).toml")
    task = ("--task", "our task (2).toml", "--data", "data", "--out", "run")
    assert secagg("simulate", *task, *SHORT).code == 0
    assert read_verified(here / "run/charter").charter.name == "consortium"


# A task that cannot be used


@pytest.mark.parametrize(
    ("content", "reason", "mentions"),
    [
        ("kind = \n", "unreadable-task", ["task.toml", "line 1", "TOML"]),
        (b"\xff\xfe", "unreadable-task", ["task.toml"]),
        ("", "bad-task", ["task.toml", "tabular-classification"]),
        ('kind = "regression"\n', "bad-task", ["task.toml", "'regression'", "tabular-classification"]),
        (f"{TASK}\n[modle]\nname = 'mlp'\n", "bad-task", ["task.toml", "`modle`"]),
        (TASK.replace("0.25", '"some"'), "bad-task", ["task.toml", "test_fraction"]),
        (TASK.replace("0.25", "1.5"), "bad-task", ["task.toml", "test_fraction"]),
        (TASK.replace('"ill"', '"sick"'), "missing-label-column", ["data/h1.csv", "'sick'", "age, dose, ill"]),
        (TASK.replace('"dose"', '"height"'), "missing-column", ["data/h1.csv", "'height'"]),
        (TASK.replace("tabular-classification", "no_such_module:task"), "custom-task", ["no_such_module"]),
    ],
)
def test_a_task_that_cannot_be_used_is_named_and_nothing_is_written(simulate, here, content, reason, mentions):
    (here / "task.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with nothing_written(here):
        simulate().failed(UNUSABLE, reason, *mentions)


OWN = """
from training.tasks.tabular import TabularTask

class Own(TabularTask):
    def build_model(self):
        return self.spec.model.depth

def build(spec):
    return Own(spec)
"""


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (OWN, "building-fails", "build_model of faulty_task:build failed (AttributeError: 'ModelSpec' object has no"),
        ("depth = {}['depth']", "custom-task", "Cannot build the task 'faulty_task:build': KeyError: 'depth'."),
    ],
)
def test_a_fault_in_code_of_ones_own_is_told_in_full_and_verbose_shows_where(
    secagg, here, monkeypatch, code, reason, told
):
    (here / "faulty_task.py").write_text(code)
    (here / "task.toml").write_text(TASK.replace("tabular-classification", "faulty_task:build"))
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "faulty_task", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    arguments = ("simulate", "--task", "task.toml", "--data", "data", "--out", "run")
    with nothing_written(here):
        secagg(*arguments).failed(UNUSABLE, reason, told, "secagg --verbose")
        shown = secagg("--verbose", *arguments).err
    assert "faulty_task.py" in shown.partition("Traceback")[2]


def test_a_task_that_does_not_exist_is_named(secagg, here):
    with nothing_written(here):
        outcome = secagg("simulate", "--task", "none.toml", "--data", "data", "--out", "run")
    told = "Cannot read the task file none.toml: No such file or directory. Check the path"
    outcome.failed(UNUSABLE, "unreadable-task", told)


def test_a_task_with_a_byte_order_mark_can_be_read(simulate, here):
    (here / "task.toml").write_bytes(b"\xef\xbb\xbf" + TASK.encode())
    assert simulate().code == 0


def test_statistics_without_noise_do_not_go_with_differential_privacy(simulate, here):
    (here / "task.toml").write_text(TASK.replace('"none"', '"secure-sum"'))
    with nothing_written(here):
        simulate(*LOCAL_DP).failed(UNUSABLE, "statistics-not-private", 'standardise = "bounds"')


# Options


@pytest.mark.parametrize(
    "options",
    [
        ["--rounds", "0"],
        ["--rounds", "many"],
        ["--rounds", "99999999999999999999"],
        ["--local-steps", "-1"],
        ["--batch-size", "99999999999"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--learning-rate", "inf"],
        ["--momentum", "nan"],
        ["--momentum", "1"],
        ["--weight-decay", "inf"],
        ["--prox-mu", "-0.1"],
        ["--server", "sgd"],
        ["--scheme", "paillier"],
        ["--homomorphic", "n1024-q60"],
        ["--server-momentum", "nan"],
        ["--weighting", "size"],
        ["--dp", "central"],
        ["--epsilon", "0"],
        ["--epsilon", "nan"],
        ["--delta", "0"],
        ["--delta", "0.01"],
        ["--delta", "0.9"],
        ["--learning-rate", "1e300"],
        ["--weight-decay", "1e300"],
        ["--prox-mu", "1e39"],
        ["--clip", "-1"],
        ["--sampling-rate", "1.5"],
        ["--metrics", "all"],
        ["--target", "nan"],
        ["--target", "95"],
        ["--colluding", "-1"],
        ["--field-bits", "65"],
        ["--max-weight", "99999999"],
        ["--epoch-rounds", "5000"],
        ["--seed", "-1"],
        ["--device", "tpu"],
        ["--hospitals", "2"],
    ],
    ids=" ".join,
)
def test_a_value_that_means_nothing_is_told_with_its_option(simulate, here, options):
    with nothing_written(here):
        simulate(*options).failed(UNUSABLE, "usage", f"'{options[0]}'", "secagg simulate --help")


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        (["--hospitals", "3"], ["--hospitals", "--split"]),
        (["--data", "data/h1.csv", "--split", "iid", "--hospitals", "3"], ["--split", "--data once"]),
        (["--data", "data/h1.csv", "--site-column", "site"], ["--site-column", "--data once"]),
        (["--site-column", "site", "--split", "iid"], ["--split", "--site-column"]),
        (["--hospitals-at", "run/hospitals"], ["--hospitals-at", "run/hospitals", "beside"]),
        (["--hospitals-at", "run"], ["--hospitals-at", "run"]),
        (["--rounds"], ["--rounds"]),
        (["--aggregate"], ["--aggregate"]),
        *(([option, ""], [option, "is empty"]) for option in ("--test", "--split", "--site-column", "--data")),
        *(([option, ""], [option, "is empty"]) for option in ("--hospitals-at", "--out")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_that_exclude_each_other_are_told_rather_than_ignored(simulate, here, options, mentions):
    with nothing_written(here):
        simulate(*options).failed(UNUSABLE, "usage", *mentions)


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        *(
            ([option, value], [f"{option} has no effect without --dp local or --dp distributed"])
            for option, value in (("--epsilon", "3"), ("--delta", "1e-6"), ("--clip", "2"), ("--sampling-rate", "0.2"))
        ),
        (["--epsilon", "3", "--dp", "none"], ["--epsilon"]),
        (["--noise", "skellam"], ["--noise has no effect without --dp distributed"]),
        (["--noise-levels", "3", *LOCAL_DP], ["--noise-levels has no effect without --dp distributed"]),
        (["--batch-size", "8", *LOCAL_DP], ["--batch-size has no effect without --dp none or --dp distributed"]),
        (["--metrics-every", "3"], ["--metrics-every has no effect without --metrics exact or --metrics noisy"]),
        (["--server-momentum", "0.5"], ["--server-momentum has no effect without --server momentum"]),
        # `simulate` gives --local-steps too.
        (["--dp", "distributed"], ["--local-steps has no effect without --dp none or --dp local"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_that_would_do_nothing_is_told_with_what_it_needs(simulate, here, options, mentions):
    with nothing_written(here):
        simulate(*options).failed(UNUSABLE, "usage", *mentions, "secagg simulate --help")


@pytest.mark.parametrize("missing", ["--task", "--data", "--out"])
def test_what_is_missing_is_named(secagg, here, missing):
    given = {"--task": "task.toml", "--data": "data", "--out": "run"}
    del given[missing]
    with nothing_written(here):
        outcome = secagg("simulate", *(part for pair in given.items() for part in pair))
    outcome.failed(UNUSABLE, "usage", f"Missing option '{missing}'")


@pytest.mark.parametrize(
    ("options", "reason", "mentions"),
    [
        (["--target", "0.9"], "target-without-metrics", ["target"]),
        (["--metrics", "noisy"], "metrics-contradict", ["privacy mode"]),
        (["--metrics", "exact", *LOCAL_DP], "metrics-not-private", ["noisy"]),
        (["--threshold", "2"], "unsafe-threshold", ["threshold 2", "threshold = 3"]),
        (["--colluding", "2"], "too-many-colluding", ["3 members", "2 collude"]),
        (["--epsilon", "0.0001", *LOCAL_DP], "unreachable-epsilon", ["0.0001", "Raise epsilon"]),
        (["--drop", "h9:1"], "bad-drop-out", ["'h9:1'", "h1:3:reveal"]),
        (["--drop", "h1"], "bad-drop-out", ["'h1'"]),
        (["--drop", "h1:1:sleep"], "bad-drop-out", ["'h1:1:sleep'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_choices_that_contradict_each_other_leave_nothing(simulate, here, options, reason, mentions):
    with nothing_written(here):
        simulate(*options).failed(UNUSABLE, reason, *mentions)


@pytest.mark.parametrize("epsilon", ["1e6", "1e300"])
def test_a_huge_epsilon_is_taken_at_its_word(secagg, simulate, epsilon):
    assert simulate("--epsilon", epsilon, *LOCAL_DP).code == 0
    (spent,) = secagg("budget", "show", "run/hospitals/h1", "--json").json
    assert spent["budget"] == float(epsilon)


def absent_device():
    for name in ("mps", "cuda"):
        try:
            resolve_device(name)
        except InputError:
            return name
    return pytest.skip("every device is here")


def test_a_device_that_is_not_here_leaves_nothing(simulate, here):
    name = absent_device()
    with nothing_written(here):
        simulate("--device", name).failed(UNUSABLE, "no-such-device", name, "--device auto")


def test_a_drop_out_while_survivors_agree_is_refused_where_nobody_has_dropped_out_before(simulate, here):
    with nothing_written(here):
        outcome = simulate("--colluding", "0", "--drop", "h3:1:agree", "--drop", "h2:2")
    outcome.failed(UNUSABLE, "bad-drop-out", "'h3:1:agree'", "where another has dropped out", "NAME:1")


def test_control_where_somebody_has_it_comes(simulate):
    result = simulate("--colluding", "0", "--drop", "h3:1:agree", "--drop", "h2:1", "--json").json
    assert [row["record"]["reason"] for row in result["rounds"]] == ["too-few-agreed", None, None]


@pytest.mark.parametrize("drop_out", ["h1:0", "h1:-3", "h1:3"])
def test_a_drop_out_in_no_round_is_refused(simulate, here, drop_out):
    with nothing_written(here):
        simulate("--drop", drop_out).failed(UNUSABLE, "bad-drop-out", drop_out)


def test_control_a_drop_out_in_a_round_that_is_run_because_another_gave_no_sum_comes(simulate):
    result = simulate("--drop", "h1:1", "--drop", "h2:3:apply", "--json").json
    assert [row["record"]["step"] for row in result["rounds"]] == [0, 1, 2]


def test_a_field_too_narrow_for_the_weights_is_refused_before_anything_is_written(simulate, here):
    with nothing_written(here):
        outcome = simulate("--field-bits", "16", "--max-weight", "1000000")
    outcome.failed(UNUSABLE, "field-too-narrow", "16 bits", "1e+06 of weight", "Raise encoding.field_bits")


@pytest.mark.parametrize("option", ["--weight-decay", "--prox-mu"])
@pytest.mark.parametrize("privacy", [(), LOCAL_DP])
def test_the_largest_factor_that_is_allowed_diverges_and_is_no_defect(simulate, option, privacy):
    outcome = simulate(option, LARGEST_FACTOR, "--local-steps", "9", *privacy)
    assert outcome.code == FAILED
    lines = outcome.err.splitlines()
    assert lines[0].startswith("h1 refuses: Training ")
    assert lines[0].endswith("[training-diverged]")
    assert "h1, h2, h3 refused (training-diverged): " in lines[-1]


def test_the_largest_learning_rate_that_is_allowed_is_no_defect(simulate):
    """It need not diverge: where every record is told apart, the gradient is zero."""
    assert "Internal error" not in simulate("--learning-rate", LARGEST_FACTOR, "--local-steps", "9").err


@pytest.mark.parametrize("options", [["--clip", "1e6", "--learning-rate", "1e38"], ["--sampling-rate", "1e-300"]])
def test_private_training_that_diverges_is_told_with_a_remedy_that_helps(simulate, options):
    outcome = simulate(*LOCAL_DP, *options)
    assert outcome.code == FAILED
    lines = outcome.err.splitlines()
    assert lines[0].startswith("h1 refuses: Training diverged")
    assert "clip norm, raise the sampling rate" in lines[0]
    assert "h1, h2, h3 refused (training-diverged): " in lines[-1]
    assert "Waiting does not help: each hospital's own log says" in lines[-1]


def test_a_run_that_gets_nowhere_says_what_each_hospital_warned_of_and_refused(simulate):
    outcome = simulate("--server-learning-rate", "1e300")
    assert outcome.code == FAILED
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("Warning: h1: The sum of round 1 counts, and changes nothing.")
    assert [line[:12] for line in lines[-4:-1]] == ["h1 refuses: ", "h2 refuses: ", "h3 refuses: "]
    assert all(line.endswith("]") for line in lines)
    assert lines[-1].startswith("Error: No hospital signed a release. h1, h2, h3: None of 2 sums has changed the model")


def test_what_hospitals_warn_of_and_refuse_is_json_with_json(simulate):
    outcome = simulate("--server-learning-rate", "1e300", "--json")
    assert (outcome.code, outcome.out) == (FAILED, "")
    lines = [json.loads(line) for line in outcome.err.splitlines()[:-1]]
    of_the_first = [kind for line in lines for kind, told in line.items() if told["member"] == "h1"]
    assert of_the_first == ["caution", "caution", "refusal"]
    assert outcome.error["reason"] == "release-incomplete"


# Where it is written


def test_a_place_that_cannot_be_written_to_leaves_nothing(secagg, here):
    with nothing_written(here):
        outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "task.toml/run")
    outcome.failed(UNUSABLE, "unwritable", "task.toml/", "Choose a folder that you can write to")


def test_a_place_that_cannot_be_written_to_is_named_as_it_was_given(secagg, here):
    outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "task.toml/run")
    outcome.failed(UNUSABLE, "unwritable", "task.toml/run ")


def test_a_place_for_hospitals_that_cannot_be_written_to_is_named_itself(simulate, here):
    with nothing_written(here):
        outcome = simulate("--hospitals-at", "task.toml/hospitals")
    outcome.failed(UNUSABLE, "unwritable", "task.toml/hospitals/h1 cannot be written")


def test_a_file_is_no_folder(secagg, here):
    with nothing_written(here):
        outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "task.toml")
    outcome.failed(UNUSABLE, "usage", "--out", "task.toml", "is a file")


def test_a_folder_that_is_not_empty_is_left_as_it_is(simulate, here):
    (here / "run").mkdir()
    (here / "run/thesis.txt").write_text("two years of work")
    with nothing_written(here):
        simulate().failed(UNUSABLE, "folder-not-empty", "run exists and is not empty. Choose another folder. [")


def test_hospitals_beside_the_working_directory_are_not_taken_to_be_inside_it(simulate, here, monkeypatch):
    (here / "run").mkdir()
    monkeypatch.chdir(here / "run")
    options = ("--task", "../task.toml", "--data", "../data", "--out", ".", "--hospitals-at", "../hospitals")
    assert simulate(*options, data=()).code == 0
    assert (here / "hospitals/h1/identity.pem").exists()


def test_control_hospitals_inside_the_runs_folder_are_however_it_is_spelt(simulate, here):
    with nothing_written(here):
        simulate("--hospitals-at", "data/../run/hospitals").failed(UNUSABLE, "usage", "is inside --out")


def test_a_folder_that_holds_a_run_is_left_as_it_is_and_the_command_that_continues_it_is_told(secagg, finished, here):
    with nothing_written(finished):
        outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", finished)
    outcome.failed(UNUSABLE, "folder-not-empty", "Choose another folder", f"`secagg simulate --resume {finished}`")


def test_an_empty_folder_may_be_used(simulate, here):
    (here / "run").mkdir()
    assert simulate().code == 0


# Taking up again


def test_a_folder_without_a_run_cannot_be_resumed(secagg, here):
    with nothing_written(here):
        for folder in ("data", "none"):
            secagg("simulate", "--resume", folder).failed(UNUSABLE, "not-a-run", folder, "--out")
        secagg("simulate", "--resume", "task.toml").failed(UNUSABLE, "usage", "--resume", "is a file")


def test_a_file_that_has_joined_the_hospitals_since_is_named(secagg, simulate, here):
    assert simulate("--no-compare").code == 0
    shutil.copy(here / "data/h1.csv", here / "data/h9.csv")
    secagg("simulate", "--resume", "run").failed(UNUSABLE, "unknown-hospital", "h9")


@pytest.fixture
def cut_off(simulate, monkeypatch):
    """Begin a run that is interrupted before its first round."""

    def interrupt(*_):
        raise KeyboardInterrupt

    def begin(*arguments, **changes):
        with monkeypatch.context() as patched:
            patched.setattr("training.simulation._run", interrupt)
            assert simulate(*arguments, **changes).code == INTERRUPTED

    return begin


def test_a_hospital_whose_file_has_left_the_folder_since_is_named_and_nobody_trains_on_without_it(
    secagg, cut_off, here
):
    cut_off("--no-compare")
    (here / "data/h2.csv").rename(here / "h2.csv")
    secagg("simulate", "--resume", "run").failed(UNUSABLE, "records-gone", "no records of h2", "Put the file")
    (here / "h2.csv").rename(here / "data/h2.csv")
    assert secagg("simulate", "--resume", "run").code == 0


def test_and_so_is_one_whose_rows_have_left_the_table_of_all(secagg, cut_off, here):
    header, *rows = (here / "data/h1.csv").read_text().splitlines()
    sites = [f"{row},{name}" for name in ("north", "south", "west") for row in rows]
    (here / "all.csv").write_text("\n".join([f"{header},site", *sites]) + "\n")
    cut_off(data=("--data", "all.csv", "--site-column", "site"))
    (here / "all.csv").write_text("\n".join([f"{header},site", *sites[: -len(rows)]]) + "\n")
    secagg("simulate", "--resume", "run").failed(UNUSABLE, "records-gone", "no records of west")


def test_a_run_that_has_ended_is_shown_whose_records_ever_are_gone(secagg, simulate, here):
    write_tables(here / "data", 4)
    assert simulate("--no-compare").code == 0
    first = secagg("simulate", "--resume", "run", "--json").json["rounds"]
    (here / "data/h4.csv").unlink()
    assert secagg("simulate", "--resume", "run", "--json").json["rounds"] == first


@pytest.mark.parametrize(
    "option",
    [["--rounds", "50"], ["--data", "data"], ["--out", "other"], ["--no-compare"], ["--seed", "0"]],
    ids=" ".join,
)
def test_an_option_beside_resume_is_told_rather_than_ignored(secagg, finished, option):
    with nothing_written(finished):
        outcome = secagg("simulate", "--resume", finished, *option)
    outcome.failed(UNUSABLE, "usage", "--resume", f"leave out --{option[0].removeprefix('--no-').strip('-')}")


def test_a_run_that_is_under_way_is_not_taken_up_a_second_time(secagg, finished):
    with alone(finished):
        secagg("simulate", "--resume", finished).failed(UNUSABLE, "state-in-use", "running")
    assert secagg("simulate", "--resume", finished).code == 0


def test_a_finished_run_is_shown_again(secagg, finished):
    release = contents(finished / "release")
    shown = secagg("simulate", "--resume", finished).shown
    assert "h2" in shown
    assert "3 of 4" in shown
    assert contents(finished / "release") == release


def test_records_that_are_gone_stop_a_run_that_is_taken_up(secagg, simulate, here):
    assert simulate(data=("--data", "data/h1.csv", "--data", "data/h2.csv", "--data", "data/h3.csv")).code == 0
    (here / "data/h2.csv").unlink()
    secagg("simulate", "--resume", "run").failed(UNUSABLE, "unreadable-file", "data/h2.csv")


def test_records_that_were_exchanged_in_mid_run_are_told_and_put_the_figures_in_doubt(secagg, simulate, here):
    files = ("--data", "data/h1.csv", "--data", "data/h2.csv", "--data", "data/h3.csv")
    first = simulate(data=files)
    assert (first.err, "on rows that no hospital trained on" in first.shown) == ("", True)
    (here / "data/h2.csv").write_bytes((here / "data/h1.csv").read_bytes())
    outcome = secagg("simulate", "--resume", "run")
    assert outcome.code == 0
    assert_one_warning(outcome, "records-changed", f"The records of h2, {here / 'data/h2.csv'}, are not those that")
    assert "Accuracy and AUC are on the test patients: see the warning." in " ".join(outcome.out.split())


def test_rows_that_are_left_out_are_told_of_the_file_that_lacks_them(secagg, here):
    (here / "task.toml").write_text(TASK.replace("[data]\n", '[data]\nmissing = "drop-row"\n'))
    header, *rows = (here / "data/h2.csv").read_text().splitlines()
    emptied = [*rows[:-8], *(f",{row.partition(',')[2]}" for row in rows[-8:])]
    (here / "data/h2.csv").write_text("\n".join([header, *emptied]) + "\n")
    outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *SHORT)
    assert outcome.code == 0
    told = f"{len(rows) - 8} of {len(rows)} rows of {here / 'data/h2.csv'} are used; 8 lack a value (age 8)."
    assert_one_warning(outcome, "rows-left-out", told)


def test_columns_that_the_first_file_implies_are_told_to_be_its(secagg, here):
    (here / "task.toml").write_text("".join(line for line in TASK.splitlines(True) if "features" not in line))
    (here / "data/h2.csv").write_text((here / "data/h2.csv").read_text().replace("dose", "Dose"))
    outcome = secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "run", *SHORT)
    outcome.failed(UNUSABLE, "missing-column", "h2.csv has no column 'dose'", f"columns of {here / 'data/h1.csv'}")


def test_a_run_whose_charter_was_altered_stops(secagg, finished):
    path = finished / "charter/charter.toml"
    path.write_text(path.read_text().replace("\nrounds = 2", "\nrounds = 3"))
    with nothing_written(finished):
        outcome = secagg("simulate", "--resume", finished)
    outcome.failed(TAMPERING, "charter-altered", "signature of h1", "Compare the charter's hash")


def test_a_run_whose_key_can_be_read_by_others_stops(secagg, finished):
    key = finished / "hospitals/h2/identity.pem"
    key.chmod(0o644)
    secagg("simulate", "--resume", finished).failed(UNUSABLE, "key-readable-by-others", key, f"chmod 600 {key}")


def test_a_run_whose_key_was_exchanged_stops(secagg, finished):
    (finished / "hospitals/h2/identity.pem").unlink()
    (finished / "hospitals/h2/ledger.sqlite").unlink()
    secagg("identity", "new", finished / "hospitals/h2/identity.pem")
    outcome = secagg("simulate", "--resume", finished)
    assert outcome.code in (UNUSABLE, TAMPERING)
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(("name", "reason"), [("latch.sqlite", "latch-damaged"), ("ledger.sqlite", "ledger-damaged")])
def test_a_damaged_state_of_a_hospital_stops_the_run(secagg, finished, name, reason):
    path = finished / "hospitals/h1" / name
    path.write_bytes(b"not a database")
    secagg("simulate", "--resume", finished).failed(TAMPERING, reason, path)


@pytest.mark.parametrize(("name", "text"), [("simulation.json", b'"cpu"'), ("coordinator/rounds.jsonl", b'"h1"')])
def test_a_file_of_the_run_that_is_no_longer_text_is_no_defect(secagg, finished, name, text):
    """training/simulation_folder.py, read_settings; training/coordinator_store.py, round_log."""
    path = finished / name
    flip(path, path.read_bytes().index(text) + 1, bit=0x80)
    is_settings = name == "simulation.json"
    code, reason = (UNUSABLE, "damaged-settings") if is_settings else (TAMPERING, "damaged-coordinator-state")
    secagg("simulate", "--resume", finished).failed(code, reason, path)


def test_an_interruption_before_there_is_a_folder_says_that_nothing_was_begun(secagg, simulate, here, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.simulation_folder.read_sites", interrupt)
    with nothing_written(here):
        for outcome in (simulate(), secagg("demo", "--out", "demo")):
            assert outcome.code == INTERRUPTED
            assert outcome.err.splitlines()[-1] == (
                "Interrupted. Nothing was begun: give the same command again. [interrupted]"
            )


# What a hospital's policy and budget do not allow


def tighten(home, old, new):
    policy = home / "policy.toml"
    assert old in policy.read_text()
    policy.write_text(policy.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "reason", "mentions"),
    [
        ("maximum_epsilon = 8.0", "maximum_epsilon = 1.0", "epsilon-too-large", ["8.0", "1.0"]),
        ("minimum_cohort = 3", "minimum_cohort = 4", "cohort-too-small", ["3", "4"]),
    ],
)
def test_a_run_that_a_hospitals_policy_no_longer_allows_is_refused(secagg, finished, old, new, reason, mentions):
    tighten(finished / "hospitals/h3", old, new)
    secagg("simulate", "--resume", finished).failed(REFUSED, reason, "h3 refuses: ", *mentions)
    assert secagg("simulate", "--resume", finished, "--json").error["culprit"] == "h3"


def test_a_run_with_hospitals_that_a_policy_no_longer_knows_is_refused(secagg, finished):
    policy = finished / "hospitals/h3/policy.toml"
    known = load_policy(policy)
    assert known.known_members
    policy.write_bytes(render_policy(msgspec.structs.replace(known, known_members=frozenset())))
    outcome = secagg("simulate", "--resume", finished)
    outcome.failed(REFUSED, "unknown-member", "h3 refuses: ", "h1", "Compare the fingerprint")


def test_a_run_that_lost_a_round_names_the_policies_that_must_allow_more_and_goes_on_then(secagg, simulate, here):
    lost = ("--colluding", "0", "--drop", "h2:1:reveal", "--drop", "h3:1:reveal")
    outcome = simulate(*LOCAL_DP, *lost)
    assert outcome.code == REFUSED
    *refusals, told = outcome.err.splitlines()
    assert [line[: len("h1 refuses: ")] for line in refusals] == ["h1 refuses: ", "h2 refuses: ", "h3 refuses: "]
    assert "privacy budget of h1, h2, h3. Raise maximum_epsilon in run/hospitals/*/policy.toml" in told
    assert told.endswith("`secagg simulate --resume run`. [budget-exceeded]")
    for home in (here / "run/hospitals").iterdir():
        tighten(home, "maximum_epsilon = 8.0", "maximum_epsilon = 11.0")
    shown = secagg("simulate", "--resume", "run").shown
    spent = secagg("simulate", "--resume", "run", "--json").json["rounds"][-1]["epsilon"]
    assert spent > 8
    assert f"together, nobody sees an update, epsilon {no_less(spent, 2)} " in shown


def second_run(secagg, finished, *options) -> Outcome:
    hospitals = ("--hospitals-at", finished / "hospitals")
    short = ("--rounds", "1", "--local-steps", "1", "--device", "cpu", "--no-compare")
    task = ("--task", "task.toml", "--data", "data", "--out", "second")
    return secagg("simulate", *task, *hospitals, *short, *LOCAL_DP, *options)


@pytest.fixture
def spent(consortium, finished, here):
    """Hospitals whose budget is spent, on the same records, which lie in the working directory."""
    for path in (consortium / "data").iterdir():
        (here / "data" / path.name).write_bytes(path.read_bytes())
    return finished


def test_a_budget_that_is_spent_refuses_and_says_what_is_left(secagg, spent, here):
    homes = [spent / "hospitals" / name for name in ("h1", "h2", "h3", "h4")]
    before = [entries(home) for home in homes]
    outcome = second_run(secagg, spent)
    outcome.failed(REFUSED, "budget-exceeded", "h1 refuses: ", "of 8", "is left", "would cost", "Train fewer rounds")
    assert not (here / "second").exists()
    assert not list(here.glob(".*"))
    assert [entries(home) for home in homes] == before


def test_a_run_that_is_refused_leaves_a_folder_that_was_there_as_it_was_and_says_why(secagg, spent, here, monkeypatch):
    (here / "second").mkdir()
    monkeypatch.chdir(here / "second")
    options = ("--task", here / "task.toml", "--data", here / "data", "--hospitals-at", spent / "hospitals")
    outcome = secagg("simulate", *options, "--out", ".", *SHORT, *LOCAL_DP)
    outcome.failed(REFUSED, "budget-exceeded", "h1 refuses: ", "Train fewer rounds")
    assert (here / "second").is_dir()
    assert not list((here / "second").iterdir())


def test_what_others_had_reserved_for_a_refused_run_is_free_again(secagg, spent, here):
    home = spent / "hospitals/h1"
    tighten(home, "maximum_epsilon = 8.0", "maximum_epsilon = 100.0")
    before = entries(home)
    (shown,) = secagg("budget", "show", home, "--json").json
    second_run(secagg, spent).failed(REFUSED, "budget-exceeded")
    assert entries(home)[: len(before)] == before
    assert [entry.kind for entry in entries(home)[len(before) :]] == [Kind.RESERVE, Kind.CLOSE]
    (after,) = secagg("budget", "show", home, "--json").json
    assert after["epsilon"] == shown["epsilon"]


def test_a_budget_that_the_policy_raised_allows_another_run(secagg, spent, here):
    for home in (spent / "hospitals").iterdir():
        tighten(home, "maximum_epsilon = 8.0", "maximum_epsilon = 100.0")
    before = read_verified(spent / "charter").charter.members
    assert second_run(secagg, spent).code == 0
    assert read_verified(here / "second/charter").charter.members == before
    (shown,) = secagg("budget", "show", spent / "hospitals/h1", "--json").json
    assert len(shown["runs"]) == 2


def test_hospitals_that_are_new_to_a_run_get_keys_where_the_others_are(secagg, simulate, here):
    assert simulate("--hospitals-at", "hospitals").code == 0
    assert {home.name for home in (here / "hospitals").iterdir()} == {"h1", "h2", "h3"}
    assert not (here / "run/hospitals").exists()
    assert read_settings(here / "run").hospitals_at == str(here / "hospitals")


# What becomes of the model


@pytest.mark.parametrize("options", [(), LOCAL_DP])
def test_a_model_with_batch_norm_is_trained_with_group_norm_and_that_is_told(secagg, normed_task, options):
    arguments = ("simulate", "--task", normed_task, "--data", "data", "--out", "run", *SHORT, *options)
    outcome = secagg(*arguments)
    assert outcome.code == 0
    assert outcome.err.count("2 BatchNorm layers are replaced by GroupNorm") == 1
    told = secagg("simulate", "--resume", "run", "--json").json["warnings"]
    assert [warning["code"] for warning in told][-1] == "batch-norm-replaced"
