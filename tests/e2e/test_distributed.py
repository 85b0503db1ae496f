"""Distributed differential privacy from the command line to the ledgers: noise shared out, drop-outs and all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cli.main import run
from dp.accounting import epsilon_rdp
from secagg.charter.folder import read_verified
from tests.support.hospitals import write_tables
from training.privacy_plan import privacy_plan

TASK = """
kind = "tabular-classification"
[model]
name = "logistic"
[data]
label = "ill"
features = ["age", "dose"]
standardise = "bounds"
bounds = { age = [-4.0, 4.0], dose = [-4.0, 4.0] }
[evaluation]
metric = "accuracy"
test_fraction = 0.25
"""


@pytest.fixture
def simulate(tmp_path, capsys):
    (tmp_path / "task.toml").write_text(TASK)
    data = [text for path in write_tables(tmp_path / "data", 6, rows=60) for text in ("--data", str(path))]
    out = tmp_path / "run"

    def call(*options):
        settings = ("--dp", "distributed", "--rounds", "8", "--epoch-rounds", "3", "--sampling-rate", "0.3")
        place = ("--out", str(out), "--device", "cpu", "--no-compare", "--json")
        assert run(["simulate", "--task", str(tmp_path / "task.toml"), *data, *settings, *options, *place]) == 0
        return json.loads(capsys.readouterr().out)

    call.out = out
    return call


def spent(out, capsys):
    found = []
    for hospital in sorted((out / "hospitals").iterdir()):
        assert run(["budget", "show", str(hospital), "--json"]) == 0
        found += json.loads(capsys.readouterr().out)
    return found


DROPPED = ("--drop", "h2:2", "--drop", "h3:4", "--drop", "h4:4", "--drop", "h5:6:reveal")


def test_with_drop_outs_every_sum_is_taken_and_no_ledger_exceeds_the_budget(simulate, capsys):
    result = simulate("--epsilon", "6", "--noise-levels", "6,5", *DROPPED)
    assert [len(row["record"]["cohort"]) for row in result["rounds"]] == [6, 5, 6, 4, 6, 6, 6, 6]
    ledgers = spent(simulate.out, capsys)
    assert len(ledgers) == 6
    assert all(0 < ledger["epsilon"] <= 6 for ledger in ledgers)
    assert max(ledger["epsilon"] for ledger in ledgers) > 5.9


def test_the_transcript_gives_every_sum_again_noise_that_came_off_included(simulate, capsys):
    simulate("--noise-levels", "6,5", *DROPPED)
    folder = simulate.out / "coordinator" / "transcript"
    assert run(["audit", "transcript", str(folder), "--charter", str(simulate.out / "charter")]) == 0
    assert "all 8 sums" in capsys.readouterr().out


def test_the_release_states_what_the_charters_noise_costs(simulate, capsys):
    simulate()
    charter = read_verified(simulate.out / "charter").charter
    assert run(["model", "show", str(simulate.out / "release"), "--json"]) == 0
    stated = json.loads(capsys.readouterr().out)["predicate"]["privacy"]
    assert stated["mode"] == "distributed"
    plan = privacy_plan(charter)
    assert stated["epsilon"] == pytest.approx(epsilon_rdp(plan.training_events(8), charter.privacy.delta))
    assert stated["epsilon"] <= charter.privacy.budget


def test_counts_are_released_with_every_third_sum_and_charged_for_those_alone(simulate):
    result = simulate("--metrics", "noisy", "--metrics-every", "3", "--epsilon", "4", "--noise-levels", "none")
    charter = read_verified(simulate.out / "charter").charter
    plan = privacy_plan(charter)
    assert plan.releases(8) == 3
    assert [step for step in range(1, 9) if plan.releases_counts(step)] == [3, 6, 8]
    assert 3.9 < result["rounds"][-1]["epsilon"] <= 4


def test_it_is_the_same_under_double_lock(simulate):
    result = simulate("--scheme", "double-lock", "--rounds", "3", "--drop", "h2:2")
    assert [len(row["record"]["cohort"]) for row in result["rounds"]] == [6, 5, 6]


def test_who_draws_other_noise_than_the_charter_says_does_not_take_part(simulate, monkeypatch, capsys):
    monkeypatch.setattr("training.noise._DRAWN_FOR_DIGEST", 4095)
    charter = simulate("--rounds", "2")["charter"]
    assert charter
    monkeypatch.undo()
    assert run(["simulate", "--resume", str(simulate.out)]) == 2
    assert "draws noise that differs" in capsys.readouterr().err


def test_discrete_gaussian_noise_is_an_option(simulate):
    result = simulate("--noise", "discrete-gaussian", "--rounds", "3")
    assert len(result["rounds"]) == 3


def test_an_interrupted_run_goes_on_and_charges_no_round_twice(simulate, capsys, tmp_path):
    simulate("--epsilon", "6")
    first = spent(simulate.out, capsys)
    assert run(["simulate", "--resume", str(simulate.out), "--json"]) == 0
    capsys.readouterr()
    assert spent(simulate.out, capsys) == first


def test_it_learns_what_it_can_learn(simulate):
    # Little noise: what is tested is that steps go the right way.
    result = simulate("--epsilon", "200", "--rounds", "12", "--server-learning-rate", "3.0")
    assert result["federated"]["accuracy"] > 0.75
    assert np.isfinite(result["federated"]["auc"])
