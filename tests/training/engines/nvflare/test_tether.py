"""What a site has started ends with it, also where the site was killed and could tell nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

TIED = "from training.engines.nvflare.tether import end_job_with_site; end_job_with_site()"
TIED_BY_NUMBER = "import os; from training.engines.nvflare.tether import end_with_starter; end_with_starter(os.environ)"
NOT_TIED = "pass"
CHILD = "{tie}; import time; print('up', flush=True); time.sleep(120)"
PARENT = """
import os, subprocess, sys
os.environ["SECAGG_STARTED_BY"] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def outlives_its_parent(tie: str, seconds: float) -> bool:
    """Whether a process in a session of its own still runs some time after its parent was killed."""
    command = (sys.executable, "-c", PARENT, CHILD.format(tie=tie))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        deadline = time.monotonic() + seconds
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        return is_running(child)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which processes there are")
@pytest.mark.parametrize("tie", [TIED, TIED_BY_NUMBER])
def test_a_process_ends_when_the_one_that_started_it_is_killed(tie):
    assert not outlives_its_parent(tie, 60)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which processes there are")
def test_control_one_that_is_not_tied_goes_on():
    assert outlives_its_parent(NOT_TIED, 2)
