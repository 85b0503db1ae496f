"""The command line as a user has it: a folder with three hospitals' files and a task, and one run that is finished."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import run
from tests.cli.outcome import Outcome, copy_of
from tests.support.hospitals import write_tables

TASK = """
kind = "tabular-classification"

[data]
label = "ill"
features = ["age", "dose"]
standardise = "none"

[evaluation]
test_fraction = 0.25
"""
# Every record in every step: the noise for it is found at once.
LOCAL_DP = ("--dp", "local", "--sampling-rate", "1")
SHORT = ("--rounds", "2", "--local-steps", "1", "--device", "cpu", "--no-compare")

Secagg = Callable[..., Outcome]


@pytest.fixture
def secagg(capsys: pytest.CaptureFixture[str]) -> Secagg:
    """Runs the command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: ``task.toml`` and ``data/h1.csv`` to ``data/h3.csv``."""
    monkeypatch.chdir(tmp_path)
    return furnished(tmp_path)


def furnished(folder: Path, hospitals: int = 3) -> Path:
    write_tables(folder / "data", hospitals, rows=12)
    (folder / "task.toml").write_text(TASK)
    return folder


@pytest.fixture
def simulate(secagg: Secagg, here: Path) -> Secagg:
    """A short simulation of what is in the working directory, with further options."""

    def call(*options: object, data: tuple[object, ...] = ("--data", "data")) -> Outcome:
        return secagg("simulate", "--task", "task.toml", *data, "--out", "run", *SHORT, *options)

    return call


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ``run`` is finished: four hospitals, two private rounds, h2 cut off in the first; read only."""
    folder = furnished(tmp_path_factory.mktemp("consortium"), hospitals=4)
    data, out = folder / "data", folder / "run"
    options = ["--task", folder / "task.toml", "--data", data, "--out", out, "--drop", "h2:1", *SHORT, *LOCAL_DP]
    assert run(["simulate", *map(str, options)]) == 0
    return folder


@pytest.fixture
def finished(consortium: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to do anything to."""
    return copy_of(consortium / "run", tmp_path / "finished")


@pytest.fixture
def keys(secagg: Secagg, here: Path) -> dict[str, dict[str, str]]:
    """What `identity new` says of the keys ``a.pem``, ``b.pem`` and ``c.pem`` in the working directory."""
    return {name: secagg("identity", "new", f"{name}.pem", "--json").json for name in "abc"}


@pytest.fixture
def members(keys: dict[str, dict[str, str]]) -> list[str]:
    return [part for name, key in keys.items() for part in ("--member", f"{name}={key['public_key']}")]


@pytest.fixture
def policy(here: Path, keys: dict[str, dict[str, str]]) -> Path:
    """A policy that knows all three members, and is strict in everything else."""
    known = json.dumps([key["fingerprint"] for key in keys.values()])
    (here / "policy.toml").write_text(f"known_members = {known}\n")
    return here / "policy.toml"


@pytest.fixture
def drafted(secagg: Secagg, here: Path, members: list[str]) -> Path:
    """A private charter of a, b and c, unsigned, in ``charter``."""
    assert secagg("charter", "new", "--task", "task.toml", *LOCAL_DP, *members).code == 0
    return here / "charter"


@pytest.fixture
def signed(secagg: Secagg, drafted: Path, policy: Path) -> Path:
    """The same, signed by all."""
    for name in "abc":
        assert secagg("charter", "sign", "--identity", f"{name}.pem").code == 0
    return drafted


NORMED = """
from torch import nn
from training.tasks.tabular import TabularTask

class Normed(TabularTask):
    def build_model(self):
        return nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), super().build_model())

def build(spec):
    return Normed(spec)
"""


@pytest.fixture
def normed_task(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``normed.toml``: a task of somebody's own, whose model has two BatchNorm layers."""
    (here / "normed_task.py").write_text(NORMED)
    (here / "normed.toml").write_text(TASK.replace("tabular-classification", "normed_task:build"))
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.delitem(sys.modules, "normed_task", raising=False)
    return "normed.toml"
