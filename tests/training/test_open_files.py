"""A simulation has the files of all its hospitals open, and takes what the system gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASKING = """
import resource
from training.open_files import many_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
with many_files():
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "inside"), [(64, 256, (256, 256)), (64, 64, (64, 64))], ids=["more may be had", "none may"]
)
def test_as_many_files_as_the_system_gives_are_taken_for_a_while(soft, hard, inside):
    script = ASKING.format(soft=soft, hard=hard)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [str(inside), str((soft, hard))]
