"""Ctrl-C or SIGTERM in the middle of a run, through the real command line: it says how to go on, and that works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secagg.release import verify_release
from tests.support.hospitals import write_tables

ROOT = Path(__file__).parents[2]
# Where the tests themselves were started in the background, SIGINT is ignored, and children inherit that.
HEAR_INTERRUPTS = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
MAIN = "from cli.main import main; main()"
# When the first round has been shown.
INTERRUPTED = """
from cli.run_view import RunView

show = RunView._round


def interrupted(view, result):
    show(view, result)
    os.kill(os.getpid(), signal.{number})


RunView._round = interrupted
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TASK = """
kind = "tabular-classification"

[data]
label = "ill"
standardise = "none"

[evaluation]
test_fraction = 0.25
"""
PATIENCE = 100
ROUNDS = 3


def simulate(folder, program, *arguments, stderr=subprocess.PIPE):
    command = [sys.executable, "-c", f"{HEAR_INTERRUPTS}\n{program}", "simulate", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def interrupt(folder, number, **options):
    """A run that is interrupted after its first round."""
    tables = write_tables(folder / "data", 3, rows=12)
    (folder / "task.toml").write_text(TASK)
    data = [argument for table in tables for argument in ("--data", str(table))]
    choices = ["--rounds", str(ROUNDS), "--local-steps", "1", "--colluding", "0", "--no-compare"]
    program = INTERRUPTED.format(number=number) + MAIN
    return simulate(folder, program, "--task", "task.toml", *data, "--out", "run", *choices, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_interruption_that_nobody_can_be_told_of_is_one_all_the_same(tmp_path):
    with Path("/dev/full").open("w") as full:
        assert interrupt(tmp_path, "SIGTERM", stderr=full).returncode == 130


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_how_to_go_on_and_can(tmp_path, number):
    ended = interrupt(tmp_path, number)
    assert ended.returncode == 130, ended.stderr
    assert "secagg simulate --resume run" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run/release").exists()

    ended = simulate(tmp_path, MAIN, "--resume", "run")
    assert ended.returncode == 0, ended.stderr
    assert "secagg model verify" in ended.stdout
    assert verify_release(tmp_path / "run/release").statement.predicate.sums == ROUNDS
