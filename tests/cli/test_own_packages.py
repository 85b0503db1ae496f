"""A file beside somebody's own task that has the name of one of secagg's packages is named, and no internal error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.outcome import UNUSABLE

ROOT = Path(__file__).parents[2]


def helped(folder):
    """`secagg charter --help` in a process of its own, with ``folder`` first on the path."""
    code = f"import sys; sys.path.append({str(ROOT)!r}); from cli.main import main; main()"
    command = [sys.executable, "-c", code, "charter", "--help"]
    return subprocess.run(
        command, cwd="/", env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("place", ["training.py", "training/__init__.py", "dp.py", "dp/__init__.py"])
def test_code_that_stands_in_for_a_package_of_ours_is_named(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("# my training loop\n")
    done = helped(tmp_path)
    assert (done.returncode, done.stdout) == (UNUSABLE, "")
    assert done.stderr.startswith(f"Error: {file} has the name of secagg's own package")
    assert done.stderr.endswith("[shadowed-package]\n")


@pytest.mark.parametrize("place", ["my_training.py", "data/training.py"])
def test_control_code_with_another_name_or_elsewhere_is_no_hindrance(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("# my training loop\n")
    assert helped(tmp_path).returncode == 0
