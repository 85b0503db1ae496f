"""Workers are asked where it pays; none outlives or hinders anybody, and whatever befalls them, the masks are right."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from secagg.masking import expansion
from secagg.masking.expansion import over_processes
from secagg.masking.keystream import MaskStreams, SignedKey, add_masks
from secagg.processes import team as teams
from secagg.processes import worker as workers
from secagg.processes.team import Spare, Team
from secagg.processes.worker import Worker
from tests.support.mask_team import KEYS, PATIENCE, by, random_vector, started

ROOT = Path(__file__).parents[3]


@pytest.fixture
def team() -> Iterator[Team]:
    team = started(2)
    yield team
    team.disband()


@pytest.fixture
def spare(monkeypatch) -> Iterator[None]:
    """As in a process that has not masked yet, on two cores."""
    spare = Spare()
    monkeypatch.setattr(teams, "SPARE", spare)
    monkeypatch.setattr(teams, "usable_cores", lambda: 2)
    yield
    spare.end()


# --- When workers are asked ----------------------------------------------------------------------------------


def employed() -> int:
    return len(workers._EMPLOYED)


def test_small_work_starts_no_process(spare):
    before = employed()
    vector = random_vector(15_000, "<u4")
    add_masks(vector, KEYS * 6, expand=over_processes)
    assert employed() == before


def test_large_work_starts_workers_once_and_keeps_them(spare, monkeypatch):
    monkeypatch.setattr(expansion, "PARALLEL_FROM_BYTES", 1_000_000)
    before = employed()
    for _ in range(3):
        alone, together = random_vector(100_001, "<u4"), random_vector(100_001, "<u4")
        add_masks(alone, KEYS)
        add_masks(together, KEYS, expand=over_processes)
        np.testing.assert_array_equal(together, alone)
        assert employed() == before + 1


def test_on_one_core_no_process_is_started(spare, monkeypatch):
    monkeypatch.setattr(teams, "usable_cores", lambda: 1)
    monkeypatch.setattr(expansion, "PARALLEL_FROM_BYTES", 1)
    before = employed()
    add_masks(random_vector(100_001, "<u4"), KEYS, expand=over_processes)
    assert employed() == before


def test_who_asks_while_the_workers_are_taken_computes_alone(spare, monkeypatch):
    monkeypatch.setattr(expansion, "PARALLEL_FROM_BYTES", 1)
    outer = over_processes(MaskStreams(KEYS, np.dtype("<u4")), 500_000)
    next(outer)
    before = employed()
    alone, together = random_vector(100_001, "<u4"), random_vector(100_001, "<u4")
    add_masks(alone, KEYS)
    add_masks(together, KEYS, expand=over_processes)
    np.testing.assert_array_equal(together, alone)
    assert employed() == before
    outer.close()
    assert employed() == before - 1


# --- Workers that fail ---------------------------------------------------------------------------------------


def process_of(worker: Worker) -> int:
    return worker._process.pid


@pytest.mark.parametrize("victims", [1, 2])
def test_a_worker_that_is_killed_in_the_middle_costs_nothing_but_time(team, victims):
    length = 3_000_001
    expected = np.zeros(length, "<u4")
    add_masks(expected, KEYS)
    doomed = team.workers[:victims]
    for _ in range(2):
        found = np.zeros(length, "<u4")
        for number, (start, masks) in enumerate(by(team)(MaskStreams(KEYS, np.dtype("<u4")), length)):
            if number == 3:
                for worker in doomed:
                    worker._process.kill()
            found[start : start + len(masks)] += masks
        np.testing.assert_array_equal(found, expected)
        for worker in doomed:
            worker._process.wait()
    assert len(team.workers) == 2 - victims


def test_a_worker_that_hangs_is_not_waited_for_and_what_it_says_later_is_ignored(team):
    length = 1_500_001
    stopped = [process_of(worker) for worker in team.workers]
    for job in range(1, 5):
        keys = [SignedKey(bytes([job, number] * 16), 1) for number in range(7)]
        expected, found = np.zeros(length, "<u4"), np.zeros(length, "<u4")
        add_masks(expected, keys)
        for number, (start, masks) in enumerate(by(team)(MaskStreams(keys, np.dtype("<u4")), length)):
            if (job, number) == (1, 3):
                for process in stopped:
                    os.kill(process, signal.SIGSTOP)
            if (job, number) == (3, 3):
                for process in stopped:
                    os.kill(process, signal.SIGCONT)
            found[start : start + len(masks)] += masks
        np.testing.assert_array_equal(found, expected)
    assert len(team.workers) == 2


def test_where_a_worker_died_between_two_jobs_the_next_job_is_right(team):
    for worker in team.workers:
        os.kill(process_of(worker), signal.SIGKILL)
        worker._process.wait()
    alone, together = random_vector(1_000_001, "<u4"), random_vector(1_000_001, "<u4")
    add_masks(alone, KEYS)
    add_masks(together, KEYS, expand=by(team))
    np.testing.assert_array_equal(together, alone)
    assert team.workers == []


def test_a_job_that_is_broken_off_ends_its_workers_and_the_next_has_new_ones(spare, monkeypatch):
    monkeypatch.setattr(expansion, "PARALLEL_FROM_BYTES", 1)

    def interrupt() -> None:
        for _ in over_processes(MaskStreams(KEYS, np.dtype("<u4")), 500_000):
            raise KeyboardInterrupt

    before = employed()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert employed() == before
    alone, together = random_vector(100_001, "<u4"), random_vector(100_001, "<u4")
    add_masks(alone, KEYS)
    add_masks(together, KEYS, expand=over_processes)
    np.testing.assert_array_equal(together, alone)
    assert employed() == before + 1


def test_a_team_that_is_interrupted_as_it_is_made_ends_and_the_next_job_makes_another(spare, monkeypatch):
    monkeypatch.setattr(expansion, "PARALLEL_FROM_BYTES", 1)
    monkeypatch.setattr(teams, "usable_cores", lambda: 3)
    start, started = workers.Worker.start, []

    def interrupted_at_the_second() -> workers.Worker | None:
        if len(started) == 1:
            started.append(None)
            raise KeyboardInterrupt
        started.append(start())
        return started[-1]

    before = employed()
    monkeypatch.setattr(workers.Worker, "start", interrupted_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        add_masks(random_vector(100_001, "<u4"), KEYS, expand=over_processes)
    assert employed() == before
    add_masks(random_vector(100_001, "<u4"), KEYS, expand=over_processes)
    assert employed() == before + 2


# --- Real processes around it --------------------------------------------------------------------------------

# No `if __name__ == "__main__"`: a script that masks must not need one. It says which processes work for it.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from secagg.masking import expansion
from secagg.masking.keystream import SignedKey, add_masks, in_one_process
from secagg.processes import team, worker as workers
team.usable_cores = lambda: 3
keys = [SignedKey(bytes.fromhex(sys.argv[1]), 1)] * 20
def mask(expand):
    vector = np.zeros(1_500_000, "<u4")
    add_masks(vector, keys, expand=expand)
    return vector
def masked_with_workers():
    while not (workers._EMPLOYED and all(worker._ready for worker in workers._EMPLOYED)):
        mask(expansion.over_processes)
    return mask(expansion.over_processes)
def report(*words):
    print(*words, flush=True)
"""
KEY = "9f" * 32


@contextmanager
def script(body: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT + body, KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    line = process.stdout.readline().split()
    assert line[:1] == ["workers"], process.stderr.read()
    return [int(number) for number in line[1:]]


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(is_running(process) for process in processes):
        assert time.monotonic() < deadline, "a worker is left behind"
        time.sleep(0.02)


def shared_memory_of(process: int) -> set[str]:
    """The names of what a process has mapped to write to and share."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if line.split()[1] == "rw-s"}


REPORT_WORKERS = """
masked_with_workers()
report("workers", *[worker._process.pid for worker in workers._EMPLOYED])
"""
ENDINGS = {
    "the script ends": "",
    "an error ends it": "raise RuntimeError",
    "os._exit": "import os; os._exit(3)",
    "killed while idle": "import time; time.sleep(600)",
    "killed at work": "while True: mask(expansion.over_processes)",
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_whatever_ends_the_employer_no_worker_and_no_shared_memory_is_left(ending):
    with script(REPORT_WORKERS + ENDINGS[ending]) as process:
        helpers = workers_of(process)
        assert len(helpers) == 2
        if ending.startswith("killed"):
            # Shared memory without a name in any file system goes with the last process that maps it.
            for party in (process.pid, *helpers):
                assert shared_memory_of(party) == {"/memfd:secagg pieces (deleted)"}
            time.sleep(0.1)
            process.kill()
        process.communicate(timeout=PATIENCE)
        wait_until_gone(helpers)


HEAR_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.mark.parametrize("at", ["sleep", "work"])
def test_ctrl_c_ends_the_employer_with_one_keyboard_interrupt_and_all_its_workers(at):
    busy = "import time; time.sleep(600)" if at == "sleep" else "while True: mask(expansion.over_processes)"
    # To the whole group, as a terminal does it.
    with script(HEAR_INTERRUPTS + REPORT_WORKERS + busy, start_new_session=True) as process:
        helpers = workers_of(process)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
        assert told.count("KeyboardInterrupt") == 1
        wait_until_gone(helpers)


def test_who_survives_ctrl_c_goes_on_with_the_right_masks():
    going_on = """
try:
    while True: mask(expansion.over_processes)
except KeyboardInterrupt:
    report("right" if (masked_with_workers() == expected).all() else "wrong")
"""
    body = HEAR_INTERRUPTS + "expected = mask(in_one_process)\n" + REPORT_WORKERS + going_on
    with script(body, start_new_session=True) as process:
        helpers = workers_of(process)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said, told = process.communicate(timeout=PATIENCE)
        assert said.split() == ["right"], told
        wait_until_gone(helpers)


def test_a_forked_child_has_workers_of_its_own_and_keeps_nobody_elses_alive():
    forking = """
import os, time
child = os.fork()
if child == 0:
    report("right" if (masked_with_workers() == expected).all() else "wrong")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1); os.dup2(1, 2)
else:
    report("child", child)
time.sleep(600)
"""
    with script("expected = mask(in_one_process)\n" + REPORT_WORKERS + forking) as process:
        helpers = workers_of(process)
        lines = sorted(process.stdout.readline().split() for _ in range(2))
        child = int(lines[0][1])
        try:
            assert lines[1] == ["right"]
            process.kill()
            wait_until_gone([*helpers, process.pid])
            assert is_running(child)
        finally:
            os.kill(child, signal.SIGKILL)


def limits_of(resource_name: int, limit: int) -> str:
    return f"import resource; resource.setrlimit({resource_name}, ({limit}, {limit}))\n"


SHORTAGES = {
    "no file descriptors": limits_of(resource.RLIMIT_NOFILE, 5),
    "no memory to share": "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    + limits_of(resource.RLIMIT_FSIZE, 4096),
    "no Python to start": "sys.executable = '/nowhere/python'\n",
    "a Python without numpy": "sys.executable = '/bin/false'\n",
}


THREE_TIMES = """
import time
for _ in range(3):
    report("right" if (mask(expansion.over_processes) == expected).all() else "wrong")
    time.sleep(0.2)
report("workers", len(workers._EMPLOYED))
"""


@pytest.mark.parametrize("shortage", list(SHORTAGES))
def test_where_no_worker_can_be_had_one_process_computes_the_right_masks(shortage):
    body = "expected = mask(in_one_process)\n" + SHORTAGES[shortage] + THREE_TIMES
    with script(body) as process:
        said, told = process.communicate(timeout=PATIENCE)
        assert said.split() == ["right"] * 3 + ["workers", "0"], told


# --- Keys ----------------------------------------------------------------------------------------------------


NAMELESS = ("pipe:", "/dev/null", "/memfd:")


def seen_of(process: int) -> bytes:
    """What any account may see of a process, or its own account in files."""
    folder = Path(f"/proc/{process}")
    links = map(os.fsencode, links_of(process))
    return b"\n".join([(folder / "cmdline").read_bytes(), (folder / "environ").read_bytes(), *links])


def links_of(process: int) -> list[str]:
    """What its open file descriptors are of; one that is closed meanwhile is of nothing."""
    found = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def shows(seen: bytes, key: str) -> bool:
    return key.encode() in seen or bytes.fromhex(key) in seen


def test_a_key_is_in_no_workers_arguments_environment_or_files(tmp_path):
    with script(REPORT_WORKERS + "import time; time.sleep(600)", cwd=tmp_path) as process:
        for worker in workers_of(process):
            seen = seen_of(worker)
            assert b"secagg.processes.worker_process" in seen
            assert not shows(seen, KEY)
            # Nothing on a disk: pipes, the null device and memory without a name. One that starts still reads modules.
            deadline = time.monotonic() + PATIENCE
            while strange := [link for link in links_of(worker) if not link.startswith(NAMELESS)]:
                assert time.monotonic() < deadline, strange
                time.sleep(0.05)
        assert list(tmp_path.iterdir()) == []
        # The control: its employer was given the key as an argument, where everybody sees it.
        assert shows(seen_of(process.pid), KEY)
