"""Four real hospitals, one file each as published: together they are as good as their pooled records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import run

TASK = Path(__file__).parents[2] / "docs/examples/heart.toml"
# FLamby's Fed-Heart-Disease (Ogier du Terrail et al. 2022), same rows and same split.
FLAMBY_FEDAVG, FLAMBY_POOLED = 0.748, 0.795
SITES = ("cleveland", "hungarian", "switzerland", "va")


def test_uci_heart_reaches_flambys_federated_accuracy_with_the_pooled_beside_it(real_data, tmp_path, capsys):
    files = [real_data / "uci-heart" / f"processed.{site}.data" for site in SITES]
    if not all(file.exists() for file in files):
        pytest.skip(f"no UCI Heart Disease in {real_data}: set SECAGG_DATA")
    data = [argument for file in files for argument in ("--data", str(file))]
    assert run(["simulate", "--task", str(TASK), *data, "--out", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["federated"]["patients"] == 254
    assert result["federated"]["accuracy"] >= FLAMBY_FEDAVG
    assert result["comparison"]["pooled_same_steps"]["accuracy"] == pytest.approx(FLAMBY_POOLED, abs=0.01)
    assert [name for name, _ in result["comparison"]["alone"]] == list(SITES)
    assert run(["model", "verify", str(tmp_path / "run/release")]) == 0
