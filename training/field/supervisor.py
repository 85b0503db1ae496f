"""Keeps one long-running process of a site alive, and ends it when the site is done or told to stop.

Knows processes and signals. Knows nothing of what the process is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_LASTING: Final = 60.0
_GRACE: Final = 10.0
# Bytes of output, from which on it is put aside.
_LONG: Final = 8 * 1024 * 1024


class StopRequestedError(Exception):
    """Somebody asked this site to stop: not a failure."""


class Supervised:
    """A process that is started again whenever it ends by itself, later each time that it did not last.

    Args:
        output: the file that its standard output and error are appended to. Where it has grown long, what is in it goes
            to a file of the same name with ``.1`` at its end, in place of what was there.
        on_restart: told the exit code each time; what it raises, `check` raises.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        on_restart: Callable[[int], None] = lambda _code: None,
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._output = output
        self._on_restart = on_restart
        self._pause = _FIRST_PAUSE
        self._due = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start()

    def check(self) -> None:
        """Start it again if it has ended, once its pause is over."""
        self._put_output_aside()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._end_group()
            self._process = None
            lasted = time.monotonic() - self._started > _LASTING
            self._pause = _FIRST_PAUSE if lasted else min(2 * self._pause, _LONGEST_PAUSE)
            self._due = time.monotonic() + self._pause
            self._on_restart(code)
        elif time.monotonic() >= self._due:
            self._start()

    def stop(self) -> None:
        """End it and all that it started: asked first, then killed."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self._end_group()
        self._process.wait()
        self._process = None

    def _start(self) -> None:
        self._started = time.monotonic()
        self._output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._output, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            # A session of its own: what it starts can be ended with it, and a terminal's Ctrl-C is ours to pass on.
            self._process = subprocess.Popen(  # noqa: S603 - the command is this program's own
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    def _put_output_aside(self) -> None:
        # Without its output the process still runs.
        with suppress(OSError):
            if self._output.stat().st_size <= _LONG:
                return
            aside = self._output.with_name(f"{self._output.name}.1")
            try:
                shutil.copy(self._output, aside)
            except OSError:
                # On a full disk a part of a copy would take what room there is from the ledger and the latch, and would
                # be tried again and again.
                aside.unlink(missing_ok=True)
            finally:
                # Emptied where it is: the process and those that it started hold it open, and go on at its new end.
                os.truncate(self._output, 0)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _end_group(self) -> None:
        self._signal(signal.SIGKILL)


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], None]]:
    """Turn SIGTERM and SIGINT into a `StopRequestedError`, raised where the given function is next called."""
    requested = False

    def request(_number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        requested = True

    def going() -> None:
        if requested:
            raise StopRequestedError

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield going
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
