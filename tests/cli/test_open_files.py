"""A simulation that runs out of files: it takes more if it may, and otherwise says so, and accuses nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SHORT

ROOT = Path(__file__).parents[2]
# Forked, so that all is imported once; a process cannot raise its hard limit again.
SIMULATING = """
import json, os, resource, sys
import cli.simulate_run, secagg.homomorphic.cipher, training.simulated_consortium
from cli.main import run

limits, arguments = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for number, (soft, hard) in enumerate(limits):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        code = run([*arguments, "--out", f"run-{number}"])
        sys.stdout.flush()
        os._exit(code)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), file=sys.stderr, flush=True)
"""
# Three hospitals have twelve files each, two more where they encrypt: they run out at the first, between those of one
# database, at the last, and in the middle of the run.
FEW = {"mask": [9, 15, 17, 30, 43], "double-lock": [30, 46, 49]}


def simulated(scheme, *limits):
    """Exit code and reason of a simulation for each pair of limits, soft and hard."""
    arguments = ["simulate", "--task", "task.toml", "--data", "data", "--scheme", scheme, *SHORT, "--json"]
    command = [sys.executable, "-c", SIMULATING, json.dumps(limits), json.dumps(arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, reason = [], None
    for line in map(json.loads, filter(lambda line: line[:1] in "{0123456789", told.stderr.splitlines())):
        if isinstance(line, int):
            found.append((line, reason))
            reason = None
        elif "error" in line:
            reason = line["error"]["reason"]
    return found


@pytest.mark.parametrize("scheme", FEW)
def test_files_that_run_out_are_neither_tampering_nor_an_internal_error_and_more_are_taken_where_they_may(here, scheme):
    *found, last = simulated(scheme, *((few, few) for few in FEW[scheme]), (FEW[scheme][0], 200))
    assert len(found) == len(FEW[scheme])
    assert found[0] == (2, "too-many-files")
    assert set(found) <= {(2, "too-many-files"), (0, None)}
    assert last == (0, None)
