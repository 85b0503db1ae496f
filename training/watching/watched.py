"""What a folder says of its training now: a simulation's, a hospital's or a coordinator's.

Knows the files that they replace as a whole while they run: history, status, state and charter. Opens no key, no
ledger, no latch, no sum and no record, so that nothing secret can come into what is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from dp.ledger import BudgetUse
from secagg.charter import Charter, VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import InputError
from secagg.masking import Purpose
from training.field.coordinator_site import CoordinatorSite
from training.field.hospital_site import HospitalSite
from training.field.status import SiteState
from training.round_record import RoundRecord, newest_step
from training.run_folder import RunFolder
from training.run_history import RoundResult, history
from training.run_lock import is_running

Kind = Literal["simulation", "hospital", "coordinator"]
NOT_RUNNING: Final = "not running"
# What a site says of itself while a process keeps it so.
_LIVE: Final = (SiteState.WAITING, SiteState.TRAINING)


class WatchedRound(msgspec.Struct, frozen=True):
    """One round.

    Attributes:
        step: which sum it gave; 0 if it gave none.
        cohort: how many hospitals are in the sum.
        dropped, silent: as in `RoundRecord`; ``dropped_out``: the same in words, with reasons.
        epsilon: the most that a patient has spent in this run after it, where that is known.
    """

    round: int
    purpose: Purpose
    step: int
    cohort: int
    dropped: tuple[str, ...]
    silent: tuple[str, ...]
    dropped_out: str
    reason: str | None
    seconds: float
    accuracy: float | None = None
    auc: float | None = None
    epsilon: float | None = None


class WatchedTraining(msgspec.Struct, frozen=True, kw_only=True):
    """A training, now.

    Attributes:
        running: whether a process holds the folder. If none does, nothing will change until one is started.
        state: of a hospital what it says; of the others ``waiting``, ``training`` or ``released``; of all ``not
            running`` where a process would have to be and is not.
        updated: when the site said so, RFC 3339; null where nobody does.
        budget: epsilon that the charter plans for; null without differential privacy.
        use: what all runs have used of a hospital's own budget, where that is known.
        rounds: all that are known; a hospital knows none.
    """

    kind: Kind
    name: str
    charter: str
    running: bool
    state: str
    members: int
    threshold: int
    steps: int
    steps_due: int
    epsilon: float | None
    budget: float | None
    delta: float | None
    updated: str | None = None
    use: BudgetUse | None = None
    alert: int = 0
    message: str | None = None
    rounds: tuple[WatchedRound, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more by itself."""
        return not self.running or self.state in (SiteState.RELEASED, SiteState.STOPPED)


def read_watched(folder: Path) -> WatchedTraining:
    """What ``folder`` says now.

    Raises:
        InputError: ``nothing-to-watch``, or which file cannot be read.
        TamperingError: if its charter was altered, or a coordinator's state damaged.
    """
    # Asked first: what a process that has ended meanwhile wrote last is then read all the same.
    running = is_running(folder)
    if RunFolder(folder).settings.exists():
        return _of_simulation(RunFolder(folder), running)
    if HospitalSite(folder).settings.exists():
        return _of_hospital(HospitalSite(folder), running)
    if CoordinatorSite(folder).settings.exists():
        return _of_coordinator(CoordinatorSite(folder), running)
    raise InputError(
        "nothing-to-watch",
        f"{folder} is neither a simulation nor the site of a hospital or a coordinator.",
        culprit=str(folder),
        remedy="Give the folder of `secagg simulate --out`, of `secagg hospital init` or of `secagg coordinator init`.",
    )


def _of_simulation(folder: RunFolder, running: bool) -> WatchedTraining:
    charter = read_verified(folder.charter)
    results = history(folder).records
    rounds = tuple(map(_measured, results))
    state = SiteState.RELEASED if folder.release.exists() else SiteState.TRAINING
    known = [row.epsilon for row in rounds if row.epsilon is not None]
    epsilon = max(known, default=0.0 if _is_private(charter.charter) else None)
    watched = _watched("simulation", charter, running, state, rounds)
    steps = newest_step(result.record for result in results)
    return msgspec.structs.replace(watched, epsilon=epsilon, steps=steps)


def _of_hospital(site: HospitalSite, running: bool) -> WatchedTraining:
    charter = read_verified(site.charter)
    status = site.status.read()
    if status is None or status.charter != charter.digest.hex():
        return _watched("hospital", charter, running, SiteState.WAITING, ())
    return msgspec.structs.replace(
        _watched("hospital", charter, running, status.state, ()),
        name=status.name or charter.charter.name,
        epsilon=status.epsilon,
        steps=status.steps,
        updated=status.updated,
        use=status.budget,
        alert=status.budget.alert if status.budget else 0,
        message=" ".join(filter(None, (status.message, status.remedy))) or None,
    )


def _of_coordinator(site: CoordinatorSite, running: bool) -> WatchedTraining:
    charter = site.read_charter()
    store = site.store(charter)
    rounds = tuple(_counted(record) for record in store.rounds)
    state, steps = site.doing(store)
    return msgspec.structs.replace(_watched("coordinator", charter, running, state, rounds), steps=steps)


def _watched(
    kind: Kind, charter: VerifiedCharter, running: bool, state: SiteState, rounds: tuple[WatchedRound, ...]
) -> WatchedTraining:
    """What the charter and the rounds say, whatever kind of folder it is."""
    content, privacy = charter.charter, charter.charter.privacy
    private = _is_private(content)
    return WatchedTraining(
        kind=kind,
        name=content.name,
        charter=charter.digest.hex(),
        running=running,
        state=state.value if running or state not in _LIVE else NOT_RUNNING,
        members=len(content.members),
        threshold=content.threshold,
        steps=0,
        steps_due=content.training.rounds,
        epsilon=None,
        budget=privacy.budget if private else None,
        delta=privacy.delta if private else None,
        rounds=rounds,
    )


def _is_private(charter: Charter) -> bool:
    return charter.privacy.mode != "none"


def _measured(result: RoundResult) -> WatchedRound:
    row = _counted(result.record)
    metrics = result.metrics
    return msgspec.structs.replace(
        row,
        accuracy=metrics.accuracy if metrics else None,
        auc=metrics.auc if metrics else None,
        epsilon=result.epsilon,
    )


def _counted(record: RoundRecord) -> WatchedRound:
    return WatchedRound(
        record.round,
        record.purpose,
        record.step,
        len(record.survivors),
        record.dropped,
        record.silent,
        record.dropped_out(),
        record.reason,
        record.seconds,
    )
