"""A release that is made is given to every member, also to one that was away when it was made.

Knows the message and whom it reaches. Whether the release is good is for each hospital to find out.
"""

from __future__ import annotations

from collections.abc import Iterable

from secagg.charter import VerifiedCharter
from secagg.wire import COORDINATOR, Sealer, Stage
from training.engines.base import Engine, Phase
from training.messages import Release


def hand_out(charter: VerifiedCharter, engine: Engine, signed: bytes, names: Iterable[str]) -> tuple[str, ...]:
    """Send a release to these members; the names of those who could not be reached.

    One that refuses would refuse again: it has not come as far, and has to have another hospital's copy.

    Args:
        signed: its statement as a DSSE file.
    """
    message = Sealer(charter, COORDINATOR, None, 0).seal(Stage.RELEASE, Release(signed))
    numbers = sorted(map(charter.charter.number_of, names))
    exchange = engine.exchange(Phase.RELEASE, [(number, message) for number in numbers], 0)
    return tuple(charter.charter.member(number).name for number in sorted(exchange.dropped))
