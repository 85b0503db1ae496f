"""Which hospitals dealt wrongly, on the coordinator's disk: whoever takes its place leaves them out too.

Knows names and rounds. Nobody is in it on another's word: shares that a hospital has signed gave another secret than it
committed to. It may have run another release of secagg, so that who is removed from the file takes part again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from secagg.charter import VerifiedCharter
from secagg.errors import SecaggError, TamperingError
from secagg.files import PRIVATE, read_bounded, write_atomically
from secagg.json_documents import MALFORMED

WRONG_DEALERS_FILE: Final = "wrong-dealers.json"
REASON: Final = "wrong-dealing"
_LARGEST: Final = 1024 * 1024


class WrongDealers:
    """Those in one coordinator's folder; a file of names and, for each, the round in which it was found.

    Raises:
        TamperingError: ``damaged-coordinator-state``.
    """

    def __init__(self, folder: Path, charter: VerifiedCharter) -> None:
        self._path = folder / WRONG_DEALERS_FILE
        self._charter = charter.charter
        self.rounds: Mapping[str, int] = self._load()

    @property
    def numbers(self) -> frozenset[int]:
        """Their member numbers."""
        return frozenset(self._charter.number_of(name) for name in self.rounds)

    def add(self, name: str, round_number: int) -> None:
        """Keep who was found in this round, on disk first.

        Raises:
            InputError: ``unwritable``.
        """
        found = {name: round_number, **self.rounds}
        write_atomically(self._path, msgspec.json.encode(found), PRIVATE)
        self.rounds = found

    def told(self, needed: Collection[int]) -> str:
        """What to say of them where a run stops.

        Args:
            needed: the numbers of those without whom the sum that is due cannot be made.
        """
        return "".join(self._told_of(name, self._charter.number_of(name) in needed) for name in self.rounds)

    @property
    def remedy(self) -> str:
        """What to do about them; empty if there are none."""
        if not self.rounds:
            return ""
        names = ", ".join(self.rounds)
        return (
            f"Ask {names} which release of secagg runs there. Once that is mended, remove {self._path} and go on with "
            "the run: then nobody is left out."
        )

    def _told_of(self, name: str, is_needed: bool) -> str:
        found = f" {name} dealt wrongly (found in round {self.rounds[name]})"
        if is_needed:
            return f"{found}, and the sum that is due can be made with {name} only: the others gave shares for it."
        return f"{found}, and is left out."

    def _load(self) -> Mapping[str, int]:
        if not self._path.exists():
            return {}
        try:
            found = msgspec.json.decode(read_bounded(self._path, _LARGEST), type=dict[str, int])
            _ = [self._charter.number_of(name) for name in found]
        except (SecaggError, *MALFORMED) as error:
            raise TamperingError(
                "damaged-coordinator-state",
                f"{self._path} cannot be read: {error}.",
                culprit=str(self._path),
                remedy="Remove it: who deals wrongly is found again, at the cost of a round.",
            ) from error
        return found
