"""The engine between buildings: each hospital's messages go to its job cell in NVFlare, all hospitals at once.

Knows members, their cells and deadlines. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from nvflare.apis.signal import Signal
from nvflare.fuel.f3.message import Message

from secagg.errors import ProtocolError, RemoteProtocolError
from training.engines.base import Exchange, Outbox, Phase
from training.engines.nvflare.transport import CHANNEL, DELIVER, pack, unpack


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
    _ended: dict[int, Signal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended.update((member, Signal(self.aborted)) for member in self.cells)

    def part_with(self, member: int) -> None:
        """Wait no longer for a member whose process has ended: neither for the answer that is due nor for any other."""
        if member in self._ended:
            self._ended[member].trigger(None)

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
        if self._ended[member].triggered:
            return RemoteProtocolError("site-ended", "The site's process has ended.")
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
                abort_signal=self._ended[member],
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
