"""Ctrl-C in the middle of a run, through the real command line: it says how to go on, and going on works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from secagg.release import verify_release
from tests.support.hospitals import write_tables

ROOT = Path(__file__).parents[2]
# Where the tests themselves were started in the background, SIGINT is ignored, and children inherit that.
HEAR_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = [sys.executable, "-c", f"{HEAR_INTERRUPTS}; from cli.main import main; main()"]
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


def simulate(folder, *arguments):
    command = [*COMMAND, "simulate", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path, process):
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupted_run_says_how_to_go_on_and_can(tmp_path):
    tables = write_tables(tmp_path / "data", 3, rows=12)
    (tmp_path / "task.toml").write_text(TASK)
    data = [argument for table in tables for argument in ("--data", str(table))]
    options = ["--rounds", "60", "--local-steps", "40", "--colluding", "0", "--no-compare", "--epoch-rounds", "60"]
    process = simulate(tmp_path, "--task", "task.toml", *data, "--out", "run", *options)
    wait_for(tmp_path / "run/history.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "secagg simulate --resume run" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run/release").exists()

    process = simulate(tmp_path, "--resume", "run")
    shown, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "secagg model verify" in shown
    assert verify_release(tmp_path / "run/release").statement.predicate.sums == 60
