"""What a running site says: one line for each thing that happens, as text or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import click

from cli.json_text import json_text
from secagg.errors import InputError, ProtocolError
from secagg.masking import Purpose
from secagg.printable import printable
from training.field.status import SiteStatus
from training.field.supervisor import StopRequestedError, stopping_on_signals
from training.field.watcher import SiteWatcher
from training.round_record import RoundRecord, some

_MOST_NAMES: Final = 10


class SiteView:
    """Prints what a site's watcher is told."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._gathered: tuple[tuple[str, ...], int] | None = None
        self._told: tuple[str, str | None] | None = None
        self._alert = 0

    @property
    def watcher(self) -> SiteWatcher:
        """What the site calls."""
        return SiteWatcher(self._restart, self._status, self._gather, self._round, self._retry, self._warning)

    def _restart(self, code: int) -> None:
        self._say("restart", f"the site's process ended with exit code {code} and is started again", code=code)

    def _status(self, status: SiteStatus) -> None:
        told = f"{status.state}, {status.steps} of {status.steps_due} sums"
        if status.reason:
            told += f": {status.message} {status.remedy or ''} [{status.reason}]"
        if (status.state, status.reason) != self._told or self._as_json:
            self._say("status", told, state=status.state, steps=status.steps, reason=status.reason)
        self._told = status.state, status.reason
        if status.budget and status.budget.alert > self._alert:
            self._alert = status.budget.alert
            self._say("budget", status.budget.told(), percent=status.budget.alert)

    def _gather(self, missing: tuple[str, ...], wanted: int) -> None:
        if (missing, wanted) != self._gathered:
            connected = wanted - len(missing)
            told = f"{connected} of {wanted} hospitals are connected"
            if missing:
                told += f"; missing: {some(missing, _MOST_NAMES)}"
            self._say("gather", told, connected=connected, missing=missing)
        self._gathered = missing, wanted

    def _round(self, record: RoundRecord) -> None:
        summed = f"sum {record.step}" if record.step else "no sum"
        what = "statistics" if record.purpose is Purpose.STATISTICS else summed
        told = f"round {record.round}: {what}, {len(record.survivors)} in the sum, {record.seconds:.2f} s"
        if record.dropped or record.silent:
            told += f"; dropped out: {record.dropped_out()}"
        if record.reason:
            told += f" [{record.reason}]"
        fields = {"round": record.round, "step": record.step, "cohort": len(record.survivors), "reason": record.reason}
        self._say("round", told, **fields)

    def _retry(self, error: ProtocolError) -> None:
        self._say("retry", f"this epoch failed, trying another: {error.diagnostics()}", reason=error.reason)

    def _warning(self, error: InputError | ProtocolError) -> None:
        self._say("warning", error.diagnostics(), reason=error.reason)

    def _say(self, event: str, text: str, **fields: object) -> None:
        now = datetime.now().astimezone()
        if self._as_json:
            line = json_text({"time": now.isoformat(timespec="seconds"), "event": event, **fields}).decode()
        else:
            line = f"{now:%H:%M:%S}  {printable(' '.join(text.split()))}"
        say(line)


def say(line: str) -> None:
    """Print a line. That a disk is full, or who read this has left, is no reason to end a site: its own log has it."""
    with suppress(OSError):
        click.echo(line)


@contextmanager
def stopped_by_hand(again: str) -> Iterator[Callable[[], None]]:
    """Signals that stop a site end the command as an interruption that says how to go on."""
    with stopping_on_signals() as going:
        try:
            yield going
        except StopRequestedError:
            raise KeyboardInterrupt(f"Go on with: {again}") from None
