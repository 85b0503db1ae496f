"""A coordinator's folder in the field, and how one epoch of its run ends.

Knows where the charter, the settings and the coordinator's own state lie. Whoever begins jobs and whoever runs them
are two processes: the second tells the first by a small file how a job ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.folder import read_verified
from secagg.errors import InputError, ProtocolError, SecaggError, TamperingError
from secagg.files import PRIVATE, write_atomically
from training.coordinator import Coordinator
from training.coordinator_store import CoordinatorStore, round_log
from training.engines.base import Engine
from training.field.no_sum import no_sum
from training.field.settings import CoordinatorSettings, read_settings
from training.field.state_file import Schema, read_state
from training.field.status import SiteState
from training.json_lines import JsonLines
from training.round_record import RoundRecord, newest_step, steps_summed

RELEASE_FILE = "release.dsse.json"
_LARGEST = 64 * 1024 * 1024


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a job ended.

    Attributes:
        finished: whether the release is there; if not, and no reason is given, more epochs are due.
        reason, message, culprit, remedy: why no epoch could be run to its end, or why it gave no new sum.
        tampering: whether that is more than a failure: somebody was caught, or a file was altered.
        unusable: whether this site has to be put right first, as where its disk is full: another epoch would find the
            same.
        absent: members that took no part from the beginning, each with the reason.
        lacking: members that the release has not reached, once it is there.
    """

    serial: int
    finished: bool = False
    reason: str | None = None
    message: str = ""
    culprit: str | None = None
    tampering: bool = False
    unusable: bool = False
    remedy: str | None = None
    absent: dict[str, str] = {}
    lacking: tuple[str, ...] = ()

    def as_error(self) -> ProtocolError | TamperingError | InputError | None:
        """What went wrong, as an error; None if nothing did."""
        if self.lacking:
            message = f"{', '.join(self.lacking)} could not be given the release."
            remedy = "Any other hospital's copy will do: `secagg model verify` says whether it is whole."
            return ProtocolError("release-not-taken", message, remedy=remedy)
        if self.reason is None:
            return None
        kind = TamperingError if self.tampering else InputError if self.unusable else ProtocolError
        return kind(self.reason, self.message, culprit=self.culprit, remedy=self.remedy)


class _Gathering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    missing: tuple[str, ...]


class _Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    last: int


@dataclass(frozen=True)
class CoordinatorSite:
    """The coordinator's folder."""

    path: Path

    @property
    def charter(self) -> Path:
        """The folder of the charter that it runs, with all signatures."""
        return self.path / "charter"

    @property
    def settings(self) -> Path:
        """How long it waits."""
        return self.path / "coordinator.toml"

    @property
    def kit(self) -> Path:
        """The start-up kits of what carries the bytes: its server's, and the one that begins jobs."""
        return self.path / "kit"

    @property
    def state(self) -> Path:
        """Numbers used, sums, transcript."""
        return self.path / "coordinator"

    @property
    def conducting(self) -> Path:
        """What is locked from the beginning of an epoch until the hospitals are told that the job is over."""
        return self.path / "conducting"

    @property
    def release(self) -> Path:
        """The statement of the release that every contributor signed."""
        return self.path / RELEASE_FILE

    @property
    def log(self) -> Path:
        """What it did, as JSON lines."""
        return self.path / "log" / "coordinator.jsonl"

    def read_charter(self) -> VerifiedCharter:
        """The charter, verified."""
        return read_verified(self.charter)

    def read_settings(self) -> CoordinatorSettings:
        """How long it waits; the defaults where nothing is set."""
        return read_settings(self.settings, CoordinatorSettings) if self.settings.exists() else CoordinatorSettings()

    def store(self, charter: VerifiedCharter) -> CoordinatorStore:
        """Numbers used so far, and which sums there are."""
        return CoordinatorStore(self.state, charter.digest)

    def doing(self, store: CoordinatorStore) -> tuple[SiteState, int]:
        """What it is doing, and how many sums of training there are, by what is in its `store`."""
        # A round in which it was stopped has no record, though its sum may be kept.
        sums = max(newest_step(store.rounds), store.reached.sums)
        if self.release.exists():
            return SiteState.RELEASED, sums
        return SiteState.TRAINING if store.rounds else SiteState.WAITING, sums

    @property
    def rounds(self) -> JsonLines[RoundRecord]:
        """The record of every round so far."""
        return round_log(self.state)

    def settle_release(self, charter: VerifiedCharter) -> None:
        """Take the release that was made for this run's, whoever has it."""
        made = self.store(charter).release
        if made is not None:
            write_atomically(self.release, made)

    def has_made_release(self, charter: VerifiedCharter) -> bool:
        """Whether there is a release, which hospitals may have been given already."""
        return self.store(charter).release is not None

    def next_serial(self) -> int:
        """A number for a job, larger than any before, also where this folder was lost: milliseconds since 1970."""
        path = self.path / "jobs.json"
        last = _read(path, _Serial)
        serial = max(last.last + 1 if last else 1, time.time_ns() // 1_000_000)
        write_atomically(path, msgspec.json.encode(_Serial(serial)), PRIVATE)
        return serial

    def note_missing(self, names: tuple[str, ...]) -> None:
        """Write down which members are waited for that are not connected, where that has changed."""
        if names != self.missing():
            write_atomically(self._gathering, msgspec.json.encode(_Gathering(names)), PRIVATE)

    def missing(self) -> tuple[str, ...]:
        """Which members were not connected when hospitals were last waited for: before the last job, or now.

        Nobody where that cannot be read: it is for show.
        """
        with suppress(InputError):
            found = _read(self._gathering, _Gathering)
            return found.missing if found else ()
        return ()

    def run_epoch(
        self,
        charter: VerifiedCharter,
        engine: Engine,
        serial: int,
        absent: dict[str, str],
        on_round: Callable[[RoundRecord], None],
    ) -> Outcome:
        """Run one epoch, or hand out the release that is made, and write down how it ended.

        Never raises for what hospitals do or fail to do.
        """
        try:
            coordinator = Coordinator(charter, engine, self.state, on_round)
            release = _release_or_sum(coordinator, charter.charter)
            if release is None:
                outcome = Outcome(serial=serial, absent=absent)
            else:
                write_atomically(self.release, release)
                outcome = Outcome(serial=serial, finished=True, absent=absent, lacking=coordinator.lacking)
        except SecaggError as error:
            outcome = Outcome(
                serial=serial,
                tampering=isinstance(error, TamperingError),
                unusable=isinstance(error, InputError),
                absent=absent,
                **error.fields(),
            )
        write_atomically(self._outcome, msgspec.json.encode(outcome), PRIVATE)
        return outcome

    def note_lost(self, outcome: Outcome) -> None:
        """Write down that a job ended without a word, for who asks how this coordinator is doing.

        Not in the place of one that ended with the release: that tells who lacks it.

        Raises:
            InputError: ``malformed-state``, ``unwritable``.
        """
        last = self.last_outcome()
        if last is None or not last.finished:
            write_atomically(self._outcome, msgspec.json.encode(outcome), PRIVATE)

    def is_done(self, charter: VerifiedCharter) -> bool:
        """Whether the release of this run is made and has reached everybody, so far as this site knows.

        Raises:
            TamperingError: ``other-charter``, if the folder was another run's.
        """
        last = self.last_outcome()
        made = self.has_made_release(charter) and self.release.exists()
        return made and last is not None and last.finished and not last.lacking

    def last_outcome(self) -> Outcome | None:
        """How the last job ended that said so; None if none has."""
        return _read(self._outcome, Outcome)

    def outcome(self, serial: int) -> Outcome | None:
        """How the job with this number ended; None if it ended without a word."""
        outcome = self.last_outcome()
        return outcome if outcome and outcome.serial == serial else None

    @property
    def _gathering(self) -> Path:
        return self.path / "gathering.json"

    @property
    def _outcome(self) -> Path:
        return self.path / "outcome.json"


def _release_or_sum(coordinator: Coordinator, charter: Charter) -> bytes | None:
    """Run one epoch; the release, if there is one.

    Raises:
        ProtocolError: ``no-sum``, if the epoch gave neither that nor a sum of a step that had none; as
            `Coordinator.run_epoch`.
    """
    before = coordinator.rounds
    release = coordinator.run_epoch()
    rounds = coordinator.rounds[len(before) :]
    if release is None and steps_summed(rounds) <= steps_summed(before):
        raise no_sum(charter, rounds)
    return release


def _read(path: Path, schema: type[Schema]) -> Schema | None:
    remedy = "Remove it; the hospitals know where the run is."
    return read_state(path, schema, _LARGEST, reason="malformed-state", remedy=remedy)
