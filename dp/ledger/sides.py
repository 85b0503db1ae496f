"""On which side a run's patients were, in training or held back, in each state of the data that the run has been on.

Knows digests, data sets and one file a run. The side of a patient follows from an identity: from all of the patient's
rows, or from a name. The ledger recognises a patient by less, such as one row of several. So who has a row more, or
another name, may be known to the ledger and yet be on the other side than before. Nobody may be on both in one run: a
run's epsilon counts the dearer side only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

import msgspec

from dp.ledger.account import Account
from secagg.errors import TamperingError
from secagg.files import PRIVATE, read_bounded, write_atomically
from secagg.json_documents import MALFORMED

_LARGEST_FILE: Final = 1 << 30


class Placed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One patient of one data set.

    Attributes:
        identity: keyed digest, 16 bytes, of what the side follows from.
        digest: one of those, 16 bytes, that the ledger recognises the patient by.
        held_back: for validation; else in training.
    """

    identity: bytes
    digest: bytes
    held_back: bool


class RunSides:
    """Of one run at one site.

    Args:
        path: of the file, which need not be there yet.
        account: of the site's ledger, in which the run is.

    Raises:
        InputError: ``unreadable``, ``file-too-large``.
        TamperingError: ``patients-altered``.
    """

    def __init__(self, path: Path, account: Account, run: str) -> None:
        self._path = path
        self._account = account
        self._run = run
        self._states = _read(path)

    def keep(self, data_set: str, patients: Sequence[Placed]) -> None:
        """Write down who is on which side of a data set, durably, before anything of it is charged.

        Raises:
            InputError: ``unwritable``.
        """
        placed = tuple(patients)
        if self._states.get(data_set) != placed:
            states = {**self._states, data_set: placed}
            write_atomically(self._path, msgspec.json.encode(states), PRIVATE)
            self._states = states

    def moved(self, patients: Sequence[Placed]) -> frozenset[bytes]:
        """The identities of those of ``patients`` who were charged on the other side before, or may have been."""
        now, charged = tuple(patients), self._account.charged_on(self._run)
        before = [self._states[name] for name in charged if self._states.get(name, now) != now]
        if not before:
            return frozenset()
        who = self._account.recognise()
        return frozenset().union(*(_moved(state, patients, who) for state in before))

    def are_known_beside(self, data_set: str) -> bool:
        """Whether, for all else that the run was charged on, it is written down and all lists of patients are there."""
        return self._are_known(self._account.charged_on(self._run) - {data_set})

    @property
    def are_one_each(self) -> bool:
        """Whether nobody whom the run was charged for was on both sides; not where nobody knows."""
        charged = self._account.charged_on(self._run)
        if len(charged) < 2:
            return True
        if not self._are_known(charged):
            return False
        who = self._account.recognise()
        pairs = combinations((self._states[name] for name in charged), 2)
        return not any(_moved(one, other, who) for one, other in pairs)

    def _are_known(self, data_sets: frozenset[str]) -> bool:
        return not data_sets or (data_sets <= self._states.keys() and not self._account.lacks_a_list)


def _moved(before: Iterable[Placed], now: Sequence[Placed], who: Callable[[bytes], bytes]) -> set[bytes]:
    """The identities of those of ``now`` who may have been on the other side.

    Whoever is in both with the same identity is on the same side, and is nobody else in either. In a table of a few
    coarse columns the ledger takes many for one patient; of these only who has gone and who is new may be one.
    """
    known, still = {patient.identity for patient in before}, {patient.identity for patient in now}
    gone = {(who(patient.digest), patient.held_back) for patient in before if patient.identity not in still}
    return {
        patient.identity
        for patient in now
        if patient.identity not in known and (who(patient.digest), not patient.held_back) in gone
    }


def _read(path: Path) -> Mapping[str, tuple[Placed, ...]]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST_FILE), type=dict[str, tuple[Placed, ...]])
    except MALFORMED as error:
        raise TamperingError(
            "patients-altered",
            f"{path} does not say on which side the run's patients were: {error}.",
            culprit=str(path),
            remedy="Put a copy of it back, or remove it: a run whose data has changed then counts as if all had moved.",
        ) from error
