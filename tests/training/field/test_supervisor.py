"""A site's process is kept alive, and ends with everything that it started. Real processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from training.field import supervisor
from training.field.supervisor import StopRequestedError, Supervised, stopping_on_signals

PATIENCE = 120.0

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which processes there are")


def await_(what, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    status = Path(f"/proc/{number}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def supervised(tmp_path, program, **options):
    return Supervised((sys.executable, "-c", program), os.environ, tmp_path / "log" / "output", **options)


def test_a_process_that_ends_is_started_again(tmp_path):
    codes = []
    counting = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(3)"
    process = supervised(tmp_path, counting, on_restart=codes.append)

    def twice():
        process.check()
        return len(codes) >= 2

    await_(twice)
    process.stop()
    assert codes[:2] == [3, 3]
    assert len((tmp_path / "starts").read_text()) >= 2


def test_what_it_says_takes_no_more_room_than_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_LONG", 1000)
    log = tmp_path / "log"
    process = supervised(tmp_path, "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.1)")

    def is_put_aside():
        process.check()
        return (log / "output.1").exists()

    await_(is_put_aside)
    await_(lambda: (log / "output").stat().st_size > 1000)
    process.check()
    process.stop()
    assert (log / "output").stat().st_size < 1000 < (log / "output.1").stat().st_size
    assert {path.name for path in log.iterdir()} == {"output", "output.1"}
    assert {path.stat().st_mode & 0o777 for path in log.iterdir()} == {0o600}
    lines = (log / "output").read_bytes() + (log / "output.1").read_bytes()
    assert set(lines) == set(b"x\n")


def test_where_a_disk_has_no_room_for_what_it_said_that_is_given_up_and_no_room_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_LONG", 8_000_000)
    log = tmp_path / "log"
    log.mkdir()
    (log / "output").write_bytes(b"x" * 9_000_000)
    process = supervised(tmp_path, "import time; time.sleep(600)")
    try:
        with room_for(5_000_000):
            process.check()
    finally:
        process.stop()
    assert {path.name: path.stat().st_size for path in log.iterdir()} == {"output": 0}


@contextmanager
def room_for(size):
    """A limit of this process that stands for a disk with so many bytes left."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_the_process_started_ends_with_it(tmp_path):
    child = tmp_path / "child"
    program = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen(['sleep', '600']).pid, file=open({str(child)!r}, 'w'), flush=True)\n"
        "time.sleep(600)"
    )
    process = supervised(tmp_path, program)
    await_(lambda: child.exists() and child.read_text().strip())
    number = int(child.read_text())
    process.stop()
    await_(lambda: not is_alive(number))


def test_what_a_killed_process_leaves_is_ended_before_it_is_started_again(tmp_path):
    """Else two processes of one hospital would want its latch."""
    child = tmp_path / "child"
    program = (
        "import os, subprocess, time\n"
        f"print(subprocess.Popen(['sleep', '600']).pid, os.getpid(), file=open({str(child)!r}, 'w'), flush=True)\n"
        "time.sleep(600)"
    )
    process = supervised(tmp_path, program)
    await_(lambda: child.exists() and child.read_text().strip())
    started, parent = map(int, child.read_text().split())
    os.kill(parent, signal.SIGKILL)

    def ended():
        process.check()
        return not is_alive(started)

    await_(ended)
    process.stop()


def test_its_output_is_kept_for_its_own_account_only(tmp_path):
    process = supervised(tmp_path, "print('so it is')")
    await_(lambda: "so it is" in (tmp_path / "log" / "output").read_text())
    process.stop()
    assert (tmp_path / "log" / "output").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_raised_where_it_can_be_dealt_with(number):
    before = signal.getsignal(number)
    with stopping_on_signals() as going:
        going()
        os.kill(os.getpid(), number)
        with pytest.raises(StopRequestedError):
            going()
    assert signal.getsignal(number) is before
