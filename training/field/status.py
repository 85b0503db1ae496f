"""How a site is doing, in one small file: for its administrator, and for whatever supervises it.

Knows the states a site may be in, and how they are written. Holds no secret and no measure of anybody's data.
"""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, TypedDict

import msgspec

from dp.ledger import BudgetUse
from secagg.charter import VerifiedCharter
from secagg.errors import InputError, RefusedError, SecaggError, TamperingError
from secagg.files import PRIVATE, write_atomically
from secagg.json_documents import json_for_people
from secagg.release.folder import read_release
from training.clock import write_time
from training.field.state_file import read_state

_LARGEST = 1024 * 1024
NOT_CONNECTED: Final = "not-connected"
"""The reason of a site that waits without a connection to the coordinator."""
_SETTLED_BY_STARTING: Final = frozenset({NOT_CONNECTED, "certificate-expired", "certificate-not-yet-valid"})
"""Reasons of a site that waits that are looked into anew where it starts: with such a certificate it does not."""


class SiteState(StrEnum):
    """What a site is doing."""

    WAITING = "waiting"
    TRAINING = "training"
    RELEASED = "released"
    STOPPED = "stopped"
    REFUSED = "refused"
    FAILED = "failed"


class SiteStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One site, now.

    Attributes:
        since: when this state began; ``updated`` when it was last confirmed; RFC 3339, UTC.
        steps: how many sums this site has applied to its model, of ``steps_due``.
        epsilon: what this run has cost this hospital's patients so far; None without differential privacy, and until a
            job has opened the site. Rewritten with every charge, and by the ledger where a site starts.
        budget: what all runs have, of what the policy allows.
        started: whether it could be started the last time.
        reason, message, remedy: why it is stopped, refused or failed, or could not be started; of one that waits, why
            it took no part in the last job, could not be set up for the last epoch because others say that its files
            were rolled back, has no connection to the coordinator, or has a certificate that is out of time; of one
            that trains, the last three.
    """

    state: SiteState
    since: str
    updated: str
    charter: str
    name: str = ""
    steps: int = 0
    steps_due: int = 0
    epsilon: float | None = None
    budget: BudgetUse | None = None
    started: bool = True
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None


class Why(TypedDict):
    """What a status says is wrong; None each where nothing is."""

    reason: str | None
    message: str | None
    remedy: str | None


def why(error: SecaggError | None) -> Why:
    """What a status says of an error."""
    if error is None:
        return Why(reason=None, message=None, remedy=None)
    return Why(reason=error.reason, message=error.message, remedy=error.remedy)


def not_taking_part(error: SecaggError, charter: str, before: SiteStatus | None = None) -> SiteStatus:
    """The status of a site that cannot or will not open for a job; ``charter`` is its own, hex.

    What it had reached under that charter ``before`` stays known, and what all runs have of the budget.
    """
    now = write_time()
    told = SiteStatus(
        state=_state_of(error),
        since=now,
        updated=now,
        charter=charter,
        budget=before.budget if before else None,
        **why(error),
    )
    if before is None or before.charter != charter:
        return told
    return msgspec.structs.replace(
        told, name=before.name, steps=before.steps, steps_due=before.steps_due, epsilon=before.epsilon
    )


def not_started(error: SecaggError, charter: str, before: SiteStatus | None) -> SiteStatus:
    """The status of a site that could not be started; as `not_taking_part`."""
    return msgspec.structs.replace(not_taking_part(error, charter, before), started=False)


def _state_of(error: SecaggError) -> SiteState:
    match error:
        case TamperingError():
            return SiteState.STOPPED
        case RefusedError():
            return SiteState.REFUSED
        case _:
            return SiteState.FAILED


def waiting(name: str, charter: VerifiedCharter, before: SiteStatus | None) -> SiteStatus:
    """The status of a site that has started and is in no job yet; what it had reached ``before`` stays known.

    So does why it took no part in the last job: only the next one shows whether that was put right.
    """
    now = write_time()
    digest = charter.digest.hex()
    reached = _settled_by_starting(before) if before and before.charter == digest else None
    return SiteStatus(
        state=SiteState.WAITING,
        since=now,
        updated=now,
        charter=digest,
        name=name,
        steps=reached.steps if reached else 0,
        steps_due=charter.charter.training.rounds,
        epsilon=reached.epsilon if reached else None,
        budget=before.budget if before else None,
        reason=reached.reason if reached else None,
        message=reached.message if reached else None,
        remedy=reached.remedy if reached else None,
    )


def why_waiting(before: SiteStatus, error: SecaggError) -> SiteStatus:
    """The status of a site that waits, with the reason why nothing will come."""
    return msgspec.structs.replace(before, updated=write_time(), **why(error))


def connected(before: SiteStatus) -> SiteStatus:
    """The status of a site that has a connection, whatever it had said of that."""
    return _without(before, {NOT_CONNECTED})


def left_without_a_word(before: SiteStatus) -> SiteStatus:
    """The status of a site that waits for the next job, as the process of the last one ended without saying so."""
    now = write_time()
    return msgspec.structs.replace(before, state=SiteState.WAITING, since=now, updated=now)


def _settled_by_starting(before: SiteStatus) -> SiteStatus:
    return _without(before, _SETTLED_BY_STARTING if before.started else {before.reason})


def _without(before: SiteStatus, reasons: Set[str | None]) -> SiteStatus:
    if before.reason not in reasons:
        return before
    return msgspec.structs.replace(before, updated=write_time(), **why(None))


def stopped(before: SiteStatus, error: TamperingError) -> SiteStatus:
    """The status of a site that stopped under its charter, and was started again."""
    now = write_time()
    return msgspec.structs.replace(before, state=SiteState.STOPPED, since=now, updated=now, **why(error))


def released(before: SiteStatus, release: Path) -> SiteStatus:
    """The status of a site that has the release of its charter, whatever it was doing when it came.

    Args:
        release: its folder. The sums are those that it states: fewer than are due where training ended at its target.
    """
    now = write_time()
    sums = before.steps
    # A status is for show: `secagg model verify` says what is wrong with a release.
    with suppress(SecaggError):
        _, statement = read_release(release)
        sums = statement.predicate.sums
    return msgspec.structs.replace(before, state=SiteState.RELEASED, since=now, updated=now, steps=sums, **why(None))


class StatusFile:
    """The status of one site, replaced as a whole whenever it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> SiteStatus | None:
        """The last status; None if there is none.

        Raises:
            InputError: ``malformed-status``.
        """
        remedy = "Remove it: it is written anew."
        return read_state(self._path, SiteStatus, _LARGEST, reason="malformed-status", remedy=remedy)

    def known(self) -> SiteStatus | None:
        """The last status; None also where it cannot be read: it is for show, and no reason not to train."""
        with suppress(InputError):
            return self.read()
        return None

    def write(self, status: SiteStatus) -> None:
        """Replace the status.

        Raises:
            InputError: ``unwritable``.
        """
        write_atomically(self._path, json_for_people(status), PRIVATE)
