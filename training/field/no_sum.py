"""Why an epoch gave no sum, by the records of its rounds: for whoever begins the next, and for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secagg.charter import Charter
from secagg.errors import ProtocolError
from training.round_record import RefusalRecord, RoundRecord, differing

_MOST_TOLD: Final = 3
_LOG: Final = "See the coordinator's log for what happened in its rounds."
_MEND: Final = (
    "If the next epochs end so too, waiting does not help: each hospital's own log says what is wrong there. The run "
    "goes on once it is mended."
)


def no_sum(charter: Charter, rounds: Sequence[RoundRecord]) -> ProtocolError:
    """The error of an epoch without a new sum: who was missing in its last round, and what was refused in any.

    Args:
        rounds: those of the epoch.
    """
    refusals = [refusal for record in rounds for refusal in record.refusals]
    # Where so many refused that the others are too few, it is not for want of a connection.
    willing = len(charter.members) - len({refusal.member for refusal in refusals})
    return ProtocolError(
        "no-sum",
        f"An epoch was over before there was a new sum.{_given_up(rounds)}{_refused(refusals)}",
        remedy=_MEND if willing < charter.threshold else _LOG,
    )


def _given_up(rounds: Sequence[RoundRecord]) -> str:
    if not rounds or rounds[-1].reason is None:
        return ""
    last = rounds[-1]
    without = f", without {last.dropped_out(_MOST_TOLD)}" if last.dropped or last.silent else ""
    return f" Round {last.round} was given up ({last.reason}){without}."


def _refused(refusals: Sequence[RefusalRecord]) -> str:
    told = (f" {', '.join(names)} ({reason}): {message}" for (reason, message), names in differing(refusals))
    return "".join(told)
