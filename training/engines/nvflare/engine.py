"""The engine between buildings: each hospital's messages go to its job cell in NVFlare, all hospitals at once.

Knows members, their cells and deadlines. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from nvflare.apis.signal import Signal
from nvflare.fuel.f3.message import Message

from secagg.errors import ProtocolError, RemoteProtocolError
from training.engines.base import Exchange, Outbox, Phase
from training.engines.nvflare.transport import CHANNEL, DELIVER, pack, unpack

_STAGES: Final = 3
"""Of a request: on its way, at work, its answer on its way."""


class Cell(Protocol):
    """What the engine needs of NVFlare's cell."""

    def send_request(
        self,
        *,
        channel: str,
        target: str,
        topic: str,
        request: Message,
        timeout: float,
        abort_signal: Signal,
    ) -> Message:
        """Stream a request, wait for the answer; a return code in its headers says whether there is one."""


@dataclass(frozen=True)
class Deadlines:
    """How long a hospital may keep everybody waiting, in seconds.

    Each holds for a request on its way, for the work, and for the answer on its way; the first and the last begin anew
    with whatever has arrived, but all three together end after three times the deadline.

    Attributes:
        work: for its update of the model, and for what it does with a sum.
        answer: for everything else.
        again: for one that has let a deadline pass, until it answers.
    """

    work: float = 600.0
    answer: float = 60.0
    again: float = 5.0

    def of(self, phase: Phase) -> float:
        """The deadline of a phase."""
        return self.work if phase in (Phase.MASK, Phase.APPLY) else self.answer


class _Patience(Signal):  # type: ignore[misc]
    """Ends a request when the job ends, and after so many seconds, whatever trickles in meanwhile."""

    def __init__(self, aborted: Signal, seconds: float) -> None:
        super().__init__(aborted)
        self._end = time.monotonic() + seconds

    @property
    def triggered(self) -> bool:
        return super().triggered or time.monotonic() > self._end


@dataclass
class NvflareEngine:
    """Moves messages between the coordinator and the hospitals' job cells.

    Args:
        cells: each member's cell; members without one have dropped out.
        aborted: triggered when NVFlare stops the job.
        on_failure: told why a member's answer did not come.
    """

    cell: Cell
    cells: Mapping[int, str]
    deadlines: Deadlines
    aborted: Signal
    on_failure: Callable[[int, RemoteProtocolError], None] = lambda _member, _error: None
    _late: set[int] = field(default_factory=set)

    def exchange(self, phase: Phase, outbox: Outbox, _round_number: int) -> Exchange:
        """See `Engine.exchange`.

        Raises:
            ProtocolError: ``job-aborted``.
        """
        parcels: dict[int, list[bytes]] = {}
        for member, message in outbox:
            parcels.setdefault(member, []).append(message)
        dropped = parcels.keys() - self.cells.keys()
        inbox: list[tuple[int, bytes]] = []
        reached = {member: parcel for member, parcel in parcels.items() if member in self.cells}
        for member, answer in self._answers(phase, reached):
            if isinstance(answer, RemoteProtocolError):
                dropped.add(member)
                self.on_failure(member, answer)
            else:
                inbox += [(member, reply) for reply in answer]
        if self.aborted.triggered:
            raise ProtocolError("job-aborted", "NVFlare has stopped the job.", remedy="Begin another one.")
        return Exchange(tuple(inbox), frozenset(dropped))

    def _answers(
        self, phase: Phase, parcels: Mapping[int, Sequence[bytes]]
    ) -> Iterator[tuple[int, list[bytes] | RemoteProtocolError]]:
        """Each member's answer, in the order of arrival."""
        arrived: queue.SimpleQueue[tuple[int, list[bytes] | RemoteProtocolError]] = queue.SimpleQueue()
        if not parcels:
            return
        with ThreadPoolExecutor(len(parcels), thread_name_prefix="exchange") as pool:
            for member, parcel in parcels.items():
                pool.submit(lambda m=member, p=parcel: arrived.put((m, self._ask(phase, m, p))))
            for _ in parcels:
                yield arrived.get()

    def _ask(self, phase: Phase, member: int, parcel: Sequence[bytes]) -> list[bytes] | RemoteProtocolError:
        deadline = self.deadlines.of(phase)
        if member in self._late:
            deadline = min(deadline, self.deadlines.again)
        try:
            reply = self.cell.send_request(
                channel=CHANNEL,
                target=self.cells[member],
                topic=DELIVER,
                request=pack(parcel),
                timeout=deadline,
                abort_signal=_Patience(self.aborted, _STAGES * deadline),
            )
            answer = unpack(reply)
        except RemoteProtocolError as error:
            self._late.add(member)
            return error
        except Exception as error:
            self._late.add(member)
            return RemoteProtocolError("not-delivered", f"NVFlare could not deliver: {type(error).__name__}.")
        self._late.discard(member)
        return answer
