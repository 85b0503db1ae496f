"""`secagg demo`: the whole thing, start to release, on real data; and it removes nothing but an earlier demo."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from cli.main import run
from secagg.charter.folder import read_verified
from secagg.policy import check_charter, load_policy
from tests.cli.conftest import SHORT
from tests.cli.outcome import REFUSED, UNUSABLE, Outcome, contents, copy_of, nothing_written
from tests.support.hospitals import write_tables
from training.run_folder import RunFolder
from training.run_lock import alone
from training.simulation_folder import read_settings

NAMES = {"aachen", "bergen", "coimbra", "dublin", "espoo", "florence", "ghent", "heidelberg"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(place):
    """What the demo said; it is in ``place / "demo"`` and not to be changed."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = run(["demo", "--out", str(place / "demo")])
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def demo(told, place):
    return place / "demo"


def test_it_ends_and_says_what_happened(told, place):
    shown = told.shown
    assert shown.startswith("Eight hospitals train one model on 569 patients. The hospitals differ:")
    assert shown.count("8 of 8") == 11
    assert "7 of 8 coimbra" in shown
    assert "8 of 8 ghent, after" in shown
    assert "together, nobody sees an update, epsilon 8" in shown
    assert shown.endswith(f"secagg model verify {place / 'demo/release'}")


def test_it_leaves_a_model_ledgers_a_release_and_a_charter_that_can_be_verified(secagg, demo):
    assert secagg("model", "verify", demo / "release").shown.startswith("Yes: ")
    assert secagg("charter", "verify", demo / "charter", "--json").json["signed_by"] == sorted(NAMES)
    assert {home.name for home in (demo / "hospitals").iterdir()} == NAMES
    for home in (demo / "hospitals").iterdir():
        assert secagg("budget", "verify", home).code == 0
        (spent,) = secagg("budget", "show", home, "--json").json
        assert 7 < spent["epsilon"] <= 8 or home.name in ("coimbra", "ghent")
    contributors = secagg("model", "show", demo / "release", "--json").json["predicate"]["contributors"]
    assert {entry["name"]: entry["sums"] for entry in contributors} == dict.fromkeys(NAMES, 12) | {"coimbra": 11}


def test_the_records_lie_beside_it(demo):
    tables = list(demo.with_name("demo-data").glob("*.csv"))
    assert {path.stem for path in tables} == NAMES
    assert sum(len(path.read_text().splitlines()) - 1 for path in tables) == 569


def test_hospitals_whose_budget_is_spent_refuse_another_demo(secagg, demo, tmp_path):
    hospitals = copy_of(demo / "hospitals", tmp_path / "hospitals")
    outcome = secagg("demo", "--out", tmp_path / "again", "--hospitals-at", hospitals)
    outcome.failed(REFUSED, "budget-exceeded", "of 8", "is left", "would cost")
    assert {path.name for path in tmp_path.iterdir()} == {"hospitals"}


# Schemes


class StoppedHereError(Exception):
    """The demo was laid out, and would run now."""


@pytest.fixture
def laid_out(secagg, tmp_path, monkeypatch):
    """Lays a demo out, runs none of it, and says what was told."""

    def stop(folder, as_json):
        raise StoppedHereError

    monkeypatch.setattr("cli.simulate_run.follow", stop)

    def call(*options):
        outcome = secagg("demo", "--dp", "none", "--out", tmp_path / "demo", *options)
        assert "StoppedHereError" in outcome.err
        return outcome.out

    return call


@pytest.mark.parametrize(
    ("chosen", "scheme", "hides"),
    [
        ("mask", "mask", "Each masks its update"),
        ("he", "double-lock", "Each masks and encrypts its update"),
        ("bfv", "bfv", "Each encrypts its update"),
        ("ckks", "ckks", "Each encrypts its update"),
    ],
)
def test_the_chosen_scheme_is_in_the_charter_and_in_every_policy(laid_out, tmp_path, chosen, scheme, hides):
    assert hides in laid_out("--scheme", chosen)
    charter = read_verified(tmp_path / "demo/charter").charter
    assert charter.scheme == scheme
    for name in NAMES:
        policy = load_policy(tmp_path / "demo/hospitals" / name / "policy.toml")
        assert policy.allowed_schemes == {scheme}
        check_charter(charter, policy)


def test_who_drops_out_after_sending_does_so_only_where_something_is_asked_after_that(laid_out, tmp_path):
    assert "ghent in round 7 right after" in laid_out("--scheme", "double-lock")
    assert read_settings(tmp_path / "demo").drop_outs == ("coimbra:4", "ghent:7:reveal")
    assert "ghent" not in laid_out("--scheme", "bfv", "--force")
    assert read_settings(tmp_path / "demo").drop_outs == ("coimbra:4",)


# What is there


def test_forced_a_link_is_replaced_and_what_it_led_to_is_left(laid_out, tmp_path):
    laid_out()
    (tmp_path / "demo").rename(tmp_path / "elsewhere")
    (tmp_path / "demo").symlink_to("elsewhere")
    kept = contents(tmp_path / "elsewhere")
    laid_out("--force")
    assert not (tmp_path / "demo").is_symlink()
    assert contents(tmp_path / "elsewhere") == kept
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "demo-data", "elsewhere"}


def test_a_demo_that_cannot_be_leaves_an_empty_folder_empty_and_no_records_beside_it(secagg, tmp_path):
    (tmp_path / "demo").mkdir()
    with nothing_written(tmp_path):
        secagg("demo", "--out", tmp_path / "demo", "--epsilon", "0.0001").failed(UNUSABLE, "unreachable-epsilon")


def test_an_earlier_demo_is_not_replaced_unasked(secagg, demo):
    with nothing_written(demo.parent):
        outcome = secagg("demo", "--out", demo)
    outcome.failed(UNUSABLE, "folder-not-empty", demo, "--force")


def test_forced_an_earlier_demo_is_replaced(secagg, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # As if it had been made here.
    settings = RunFolder(copy_of(demo.parent, tmp_path / "runs") / "demo").settings
    settings.write_text(settings.read_text().replace(str(demo.parent), str(tmp_path / "runs")))
    first = (tmp_path / "runs/demo/charter/charter.toml").read_text()
    result = secagg("demo", "--dp", "none", "--force", "--json").json
    assert len(result["rounds"]) == 12
    assert len(result["comparison"]["alone"]) == 8
    assert (tmp_path / "runs/demo/charter/charter.toml").read_text() != first
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"demo", "demo-data"}


@pytest.fixture
def other_run(secagg, tmp_path, monkeypatch):
    """A run of somebody's own, with keys and ledgers that exist once."""
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path / "data", 3, rows=12)
    (tmp_path / "demo.toml").write_text(
        'kind = "tabular-classification"\n[data]\nlabel = "ill"\nstandardise = "none"\n'
    )
    assert secagg("simulate", "--task", "demo.toml", "--data", "data", "--out", "demo", *SHORT).code == 0
    return tmp_path


def test_forced_it_does_not_remove_a_run_that_is_no_demo(secagg, other_run):
    with nothing_written(other_run):
        outcome = secagg("demo", "--out", "demo", "--force")
    outcome.failed(UNUSABLE, "not-a-demo", "demo holds something other", "Choose another folder")


def test_forced_it_does_not_remove_a_folder_of_other_things(secagg, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter-1.txt").write_text("two years of work")
    with nothing_written(tmp_path):
        outcome = secagg("demo", "--out", tmp_path / "thesis", "--force")
    outcome.failed(UNUSABLE, "not-a-demo", tmp_path / "thesis")


def test_forced_it_does_not_remove_what_somebody_put_into_a_demo(secagg, demo):
    (demo / "notes.txt").write_text("what we learned")
    try:
        with nothing_written(demo.parent):
            secagg("demo", "--out", demo, "--force").failed(UNUSABLE, "not-a-demo", demo)
    finally:
        (demo / "notes.txt").unlink()


def test_forced_it_does_not_replace_a_demo_that_is_under_way(laid_out, secagg, tmp_path):
    laid_out()
    with alone(tmp_path / "demo"), nothing_written(tmp_path):
        outcome = secagg("demo", "--out", tmp_path / "demo", "--force")
    outcome.failed(UNUSABLE, "state-in-use", tmp_path / "demo", "running")
    laid_out("--force")


def test_records_in_the_place_of_its_own_are_not_overwritten(secagg, tmp_path):
    (tmp_path / "demo-data").mkdir()
    (tmp_path / "demo-data/bergen.csv").write_text("patients of the real Bergen")
    with nothing_written(tmp_path):
        outcome = secagg("demo", "--out", tmp_path / "demo")
    outcome.failed(UNUSABLE, "exists", "demo-data/bergen.csv", "Choose another folder")


def test_a_new_demo_that_cannot_be_leaves_the_earlier_one(secagg, demo):
    before = contents(demo.parent)
    for options in (["--epsilon", "0.0001"], ["--hospitals-at", demo / "hospitals"]):
        assert secagg("demo", "--out", demo, "--force", *options).code == UNUSABLE
        assert contents(demo.parent) == before


@pytest.mark.parametrize(
    ("options", "reason", "mentions"),
    [
        (["--epsilon", "0"], "usage", ["--epsilon"]),
        (["--epsilon", "nan"], "usage", ["--epsilon"]),
        (["--dp", "central"], "usage", ["--dp", "central"]),
        (["--dp", "none", "--epsilon", "3"], "usage", ["--epsilon has no effect without --dp local:"]),
        (["--out", "file.txt"], "usage", ["--out", "file.txt", "is a file"]),
        (["--out", "file.txt/demo"], "unwritable", ["file.txt/demo"]),
        (["--epsilon", "0.0001"], "unreachable-epsilon", ["0.0001"]),
        (["--hospitals-at", "file.txt/hospitals"], "unwritable", []),
        (["--hospitals-at", "demo/hospitals"], "usage", ["--hospitals-at", "inside --out"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_demo_that_cannot_be_leaves_nothing(secagg, tmp_path, monkeypatch, options, reason, mentions):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("a file where a folder should be")
    with nothing_written(tmp_path):
        secagg("demo", "--out", "demo", *options).failed(UNUSABLE, reason, *mentions)
