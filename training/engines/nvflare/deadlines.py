"""How long a coordinator waits for a hospital, and how long one that has the release stays for what comes after it.

Knows phases and seconds. Knows nothing of who carries the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from training.engines.base import Phase

STAGES: Final = 3
"""Of a request: on its way, at work, its answer on its way."""
_LONGEST_LAST: Final = 540.0
_AT_WORK: Final = 360.0
LONGEST_FAREWELL: Final = 2 * STAGES * _LONGEST_LAST + _AT_WORK
"""Seconds that one hospital may have to wait from the release to the last message: for all others to have it and to
sign for one another's logs, and for the coordinator to read what its transcript has grown by, and to check what they
signed. A hospital does not know the coordinator's settings; they change nothing here.
"""
LINGERING: Final = 120.0
"""Seconds that a hospital with the release stays after a job that ended without a word: for a coordinator that was
interrupted to begin another, in which it hands the release out again, and asks who has it.
"""


@dataclass(frozen=True)
class Deadlines:
    """How long a hospital may keep everybody waiting, in seconds.

    Each holds for a request on its way, for the work, and for the answer on its way; the first and the last begin anew
    with whatever has arrived, but all three together end after three times the deadline.

    Attributes:
        work: for its update of the model, for what it does with a sum, and for catching up: all carry a model.
        answer: for everything else; nine minutes at most once the first have the release, as they wait too.
        again: for one that has let a deadline pass, to say whether it is still at work on what it was sent then.
        pulse: between two questions to those who are waited for, whether they are still there, and for their answers.
    """

    work: float = 600.0
    answer: float = 60.0
    again: float = 5.0
    pulse: float = 10.0

    def of(self, phase: Phase) -> float:
        """The deadline of a phase."""
        match phase:
            case Phase.CATCH_UP | Phase.MASK | Phase.APPLY:
                return self.work
            case Phase.RELEASE | Phase.WITNESS:
                return min(self.answer, _LONGEST_LAST)
            case _:
                return self.answer
