"""What a coordinator writes down: which epochs and rounds it has used, and the sums it has given out.

Knows files and numbers. None of it is secret from the members, and no privacy or integrity rests on it: lost, the
hospitals refuse to go back, and the coordinator learns from them where they are. Others need not read the sums: 0600.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path

import msgspec

from secagg.errors import TamperingError
from secagg.files import PRIVATE, read_bounded, remove_leftovers, write_atomically
from secagg.json_documents import MALFORMED
from secagg.masking import Purpose
from secagg.release.dsse import LARGEST_STATEMENT
from training.json_lines import JsonLines
from training.reached import Reached
from training.round_record import RoundRecord

_LARGEST_STATE = 64 * 1024 * 1024
_LARGEST_RELEASE = 64 * 1024 * 1024


def _sum_name(purpose: Purpose, step: int) -> str:
    return f"{purpose}-{step:06d}.bin"


def _step_of(purpose: Purpose, name: str) -> int | None:
    """Which sum is in a file of this name; None if it is not one that `_sum_name` gives."""
    found = re.fullmatch(rf"{purpose}-([0-9]{{6,12}})[.]bin", name)
    step = int(found[1]) if found else 0
    return step if step and name == _sum_name(purpose, step) else None


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hospitals whose shares were asked for, to take the masks off a step's sum; without masks, who is in one that
    was given out.

    Who gave a share gives none for any other cohort, and who opened the sum opens no other: where it reached nobody, or
    too few, the step is repeated over the same.
    """

    purpose: Purpose
    step: int
    cohort: tuple[int, ...]


class CoordinatorState(msgspec.Struct, frozen=True):
    """Numbers used so far. What else is in a file of an earlier version is left alone, and not written again.

    Attributes:
        forgotten: up to this round, hospitals may have masked some that this folder, lost or put back since, does not
            know of: for them, one hospital's word is enough. 0 as long as nothing has told of any.
        asked: whose shares were asked for last, or who is in the sum that was given out last.
        in_vain: over whom alone the last round was to be, if it gave no sum.
        stated: how many rounds hospitals were asked to attest to; who has attested to a number attests to no other.
        given: members that have said that they have the release.
        witnessed: whether enough hospitals have signed for one another's logs, and have kept the signatures.
    """

    charter: str
    epoch: int = 0
    round: int = 0
    forgotten: int = 0
    asked: Asked | None = None
    in_vain: tuple[int, ...] = ()
    stated: int | None = None
    given: tuple[int, ...] = ()
    witnessed: bool = False

    def cohort_asked(self, purpose: Purpose, step: int) -> tuple[int, ...]:
        """Those over whom this step was to be summed before, if it is the one that was summed last."""
        asked = self.asked
        return asked.cohort if asked and (asked.purpose, asked.step) == (purpose, step) else ()

    def lacking(self, members: int) -> frozenset[int]:
        """The numbers of those of the ``members`` who have not said that they have the release."""
        return frozenset(range(1, members + 1)).difference(self.given)


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hospitals' signed word of where they are.

    Attributes:
        reached: how far that is.
        signed: by member number, its STATUS envelope.
    """

    reached: Reached
    signed: dict[int, bytes]


def round_log(folder: Path) -> JsonLines[RoundRecord]:
    """The record of every round of the coordinator whose state is in ``folder``."""
    path = folder / "rounds.jsonl"

    def damaged(what: str) -> TamperingError:
        return TamperingError(
            "damaged-coordinator-state",
            what,
            culprit=str(path),
            remedy="Put back a copy of it, or remove it: the transcript has the rounds too.",
        )

    return JsonLines(path, RoundRecord, damaged)


class CoordinatorStore:
    """The coordinator's folder. The rounds in it are read when they are first asked for.

    Raises:
        TamperingError: ``damaged-coordinator-state``, ``other-charter``.
    """

    def __init__(self, folder: Path, charter_digest: bytes) -> None:
        self._folder = folder
        self.state = self._load(charter_digest.hex())
        self._kept = {purpose: self._steps(purpose) for purpose in Purpose}
        # Not in the state, which is written anew whenever a number changes: in a large consortium it would grow to
        # gigabytes.
        self._rounds = round_log(folder)

    @property
    def reached(self) -> Reached:
        """The newest sums that are kept. A folder that was lost or put back may lack some before them."""
        return Reached(*(max(self._kept[purpose], default=0) for purpose in (Purpose.STATISTICS, Purpose.TRAINING)))

    @property
    def rounds(self) -> tuple[RoundRecord, ...]:
        """The record of every round so far.

        Raises:
            InputError, TamperingError: as `JsonLines.records`.
        """
        return self._rounds.records

    def add_round(self, record: RoundRecord) -> None:
        """Write down how a round went, then keep it in memory.

        Raises:
            InputError: ``unwritable``.
        """
        self._rounds.append(record)

    def update(self, **changes: object) -> None:
        """Change the state on disk, then in memory.

        Raises:
            InputError: ``unwritable``.
        """
        state = msgspec.structs.replace(self.state, **changes)
        write_atomically(self._path, msgspec.json.encode(state), PRIVATE)
        self.state = state

    def remove_leftovers(self) -> None:
        """Remove what a coordinator left half written when it was killed. Only for who runs it: others read here too.

        Raises:
            InputError: ``unwritable``.
        """
        sums = (self._folder / "sums" / f"{purpose}-*.bin" for purpose in Purpose)
        for path in (self._path, self._endorsements, self._release, self._checkpoints, *sums):
            remove_leftovers(path)

    def keep_sum(self, purpose: Purpose, step: int, message: bytes) -> None:
        """Keep the message that gives the ``step``-th sum: who misses it will want it.

        Raises:
            InputError: ``unwritable``.
        """
        write_atomically(self._folder / "sums" / _sum_name(purpose, step), message, PRIVATE)
        self._kept[purpose].add(step)

    def sums_after(self, purpose: Purpose, step: int) -> tuple[str, ...]:
        """Names of the messages with the sums after the ``step``-th, up to the first that is not here."""
        following = takewhile(self._kept[purpose].__contains__, count(step + 1))
        return tuple(_sum_name(purpose, later) for later in following)

    def keeps_all(self, after: Reached, until: Reached) -> bool:
        """Whether the messages with the sums that one of these has beyond the other are all here."""
        return all(
            after.of(purpose) + len(self.sums_after(purpose, after.of(purpose))) >= until.of(purpose)
            for purpose in Purpose
        )

    def message(self, name: str) -> bytes:
        """A message kept by `keep_sum`, by its name."""
        return read_bounded(self._folder / "sums" / name, 1 << 34)

    def _steps(self, purpose: Purpose) -> set[int]:
        paths = (self._folder / "sums").glob(f"{purpose}-*.bin")
        return {step for path in paths if (step := _step_of(purpose, path.name))}

    def keep_words(self, reached: Reached, signed: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Keep who says that it has come so far, for those who are behind and come when the others have gone.

        Returns:
            What all said last who ever said so.

        Raises:
            InputError: ``unwritable``.
        """
        known = self._words()
        before = known.signed if known and known.reached == reached else {}
        words = before | dict(signed)
        if words != before:
            write_atomically(self._endorsements, msgspec.json.encode(Words(reached, words)), PRIVATE)
        return words

    def _words(self) -> Words | None:
        if not self._endorsements.exists():
            return None
        try:
            return msgspec.json.decode(read_bounded(self._endorsements, _LARGEST_STATE), type=Words)
        except MALFORMED:
            # Nothing rests on it, and it is written anew when hospitals are asked.
            return None

    def keep_release(self, signed: bytes) -> None:
        """Keep the release's statement, before anybody is given it: who has it need not be there to sign it again.

        Raises:
            InputError: ``unwritable``.
        """
        write_atomically(self._release, signed)

    @property
    def release(self) -> bytes | None:
        """What `keep_release` kept; None if there is no release yet."""
        return read_bounded(self._release, _LARGEST_RELEASE) if self._release.exists() else None

    def keep_checkpoints(self, listed: bytes) -> None:
        """Keep the list of checkpoints, before anybody is shown it: who has signed one signs no other.

        Raises:
            InputError: ``unwritable``.
        """
        write_atomically(self._checkpoints, listed, PRIVATE)

    @property
    def checkpoints(self) -> bytes | None:
        """What `keep_checkpoints` kept; None if nobody has been shown a list yet."""
        return read_bounded(self._checkpoints, LARGEST_STATEMENT) if self._checkpoints.exists() else None

    @property
    def _checkpoints(self) -> Path:
        return self._folder / "checkpoints.json"

    @property
    def _endorsements(self) -> Path:
        return self._folder / "endorsements.json"

    @property
    def _release(self) -> Path:
        return self._folder / "release.dsse.json"

    @property
    def _path(self) -> Path:
        return self._folder / "coordinator.json"

    def _load(self, charter: str) -> CoordinatorState:
        if not self._path.exists():
            return CoordinatorState(charter)
        try:
            state = msgspec.json.decode(read_bounded(self._path, _LARGEST_STATE), type=CoordinatorState)
        except MALFORMED as error:
            raise TamperingError(
                "damaged-coordinator-state",
                f"{self._path} cannot be read: {error}.",
                culprit=str(self._path),
                remedy="Put back a copy of it. If there is none, remove it, and leave all else in the folder: the "
                "coordinator then asks the hospitals where they are.",
            ) from error
        if state.charter != charter:
            raise TamperingError(
                "other-charter",
                f"{self._path} belongs to another charter.",
                culprit=str(self._path),
                remedy="Give each charter's coordinator a folder of its own.",
            )
        return state
