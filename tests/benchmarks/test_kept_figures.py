"""Figures that took hours are shown whatever became of the folder that they were to be kept in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.sweep.targets import read_figures

ROOT = Path(__file__).parents[2]
# So that an edit of the real checkout while this runs changes nothing.
SAME = """
from benchmarks.sweep.environment import Environment
here = Environment.here()
Environment.here = classmethod(lambda _: here)
"""
MEASURED = """
def test_something(figure):
    figure("signing", 0.8, "")
"""
EDITED = """
    import msgspec
    from benchmarks.sweep.environment import Environment
    edited = msgspec.structs.replace(Environment.here(), revision="edited")
    Environment.here = classmethod(lambda _: edited)
"""


def measure(folder: Path, benchmark: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(SAME)
    file = folder / "bench_something.py"
    file.write_text(benchmark)
    options = ["-p", "benchmarks.conftest", "-c", os.devnull, "--rootdir", str(folder), f"--keep={folder / 'run'}"]
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    usual = {name: value for name, value in os.environ.items() if name != "SECAGG_BENCH"}
    return subprocess.run(command, cwd=ROOT, env=usual, capture_output=True, text=True, check=False)


def test_where_code_was_edited_meanwhile_figures_are_shown_and_said_not_to_be_kept(tmp_path):
    done = measure(tmp_path, MEASURED + EDITED)
    assert "signing" in done.stdout
    assert "Not kept: " in done.stdout
    assert "revision was" in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert done.returncode == 1
    assert read_figures(tmp_path / "run") == []


def test_control_where_nothing_changed_they_are_kept(tmp_path):
    done = measure(tmp_path, MEASURED)
    assert done.returncode == 0, done.stdout
    assert [one.what for one in read_figures(tmp_path / "run")] == ["signing"]
