"""Chest X-rays at 40 hospitals that differ: as good as the pooled records, and the ledgers show what privacy cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import run

TASK = Path(__file__).parents[2] / "docs/examples/pneumonia.toml"


@pytest.fixture
def simulate(real_data, tmp_path, capsys):
    archive = real_data / "pneumoniamnist" / "pneumoniamnist_reassembled.npz"
    if not archive.exists():
        pytest.skip(f"no PneumoniaMNIST in {real_data}: set SECAGG_DATA")

    def call(*options):
        source = ["--data", f"{archive}::train", "--test", f"{archive}::test", "--split", "dirichlet:0.5"]
        out = ["--out", str(tmp_path / "run"), "--device", "cpu", "--json"]
        assert run(["simulate", "--task", str(TASK), *source, *options, *out]) == 0
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def spent(tmp_path, capsys):
    """What every hospital's ledger says."""

    def call():
        found = []
        for hospital in sorted((tmp_path / "run/hospitals").iterdir()):
            assert run(["budget", "verify", str(hospital)]) == 0
            capsys.readouterr()
            assert run(["budget", "show", str(hospital), "--json"]) == 0
            found += json.loads(capsys.readouterr().out)
        return found

    return call


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_hospitals_are_as_good_as_their_pooled_records(simulate):
    steps = ("--rounds", "100", "--local-steps", "3", "--batch-size", "16", "--learning-rate", "0.05")
    result = simulate("--hospitals", "40", *steps, "--server", "momentum")
    assert result["federated"]["patients"] == 624
    assert result["federated"]["auc"] >= result["comparison"]["pooled_same_steps"]["auc"] - 0.01


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_hospitals_with_local_privacy_each_keep_to_their_budget(simulate, spent):
    options = ("--hospitals", "40", "--rounds", "10", "--dp", "local", "--epsilon", "8", "--no-compare")
    result = simulate(*options, "--learning-rate", "0.1", "--momentum", "0.9", "--sampling-rate", "0.2")
    ledgers = spent()
    assert len(ledgers) == 40
    assert all(7.9 < ledger["epsilon"] <= 8 for ledger in ledgers)
    assert all(run["state"] == "closed" and run["rounds"] == 10 for ledger in ledgers for run in ledger["runs"])
    assert result["federated"]["auc"] > 0.7


def test_five_hospitals_with_local_privacy_in_short(simulate, spent):
    result = simulate(
        *("--hospitals", "5", "--rounds", "2", "--local-steps", "2", "--no-compare"),
        *("--dp", "local", "--epsilon", "8", "--sampling-rate", "0.05", "--drop", "hospital-2:1"),
    )
    assert [len(row["record"]["cohort"]) for row in result["rounds"]] == [4, 5]
    ledgers = spent()
    assert len(ledgers) == 5
    assert all(0 < ledger["epsilon"] <= 8 for ledger in ledgers)
