"""The engine between buildings: each hospital's messages go to its job cell in NVFlare, all hospitals at once.

Knows members, their cells and deadlines. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from nvflare.apis.signal import Signal
from nvflare.fuel.f3.message import Message

from secagg.errors import ProtocolError, RemoteProtocolError
from training.engines.base import Exchange, Outbox, Phase
from training.engines.nvflare.deadlines import STAGES, Deadlines
from training.engines.nvflare.transport import CHANNEL, DELIVER, PULSE, pack, unpack

_MOST_MISSED: Final = 3
"""Questions in a row that somebody who is there may leave without an answer: a network is cut for seconds at times."""
_MOST_OVERRUNS: Final = 2
"""Updates in a row that somebody who is there may fail at or be too late with: each is paid for, and for nothing."""


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


class _Patience(Signal):  # type: ignore[misc]
    """Ends a request when the job ends, after so many seconds whatever trickles in, and when nobody is there."""

    def __init__(self, ended: Signal, seconds: float) -> None:
        super().__init__(ended)
        self._end = time.monotonic() + seconds
        self._missed = 0

    @property
    def triggered(self) -> bool:
        return super().triggered or time.monotonic() > self._end or not self.was_there

    @property
    def was_there(self) -> bool:
        """Whether the one who is waited for was there when it was asked."""
        return self._missed < _MOST_MISSED

    def note_pulse(self, found: bool) -> None:
        """Hear whether the one who is waited for was there when it was asked."""
        self._missed = 0 if found else self._missed + 1


@dataclass
class NvflareEngine:
    """Moves messages between the coordinator and the hospitals' job cells.

    One that has let a deadline pass is sent nothing as long as it is at work on what it was sent: it could not answer
    in time, but would carry it out all the same, and pay for it. Who is idle again has the whole deadline.

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
    _overruns: Counter[int] = field(default_factory=Counter)
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
        if not parcels:
            return
        arrived: queue.SimpleQueue[tuple[int, list[bytes] | RemoteProtocolError]] = queue.SimpleQueue()
        waited_for = {member: self._patience(phase, member) for member in parcels}
        with ThreadPoolExecutor(2 * len(parcels), thread_name_prefix="exchange") as pool:
            for member, parcel in parcels.items():
                pool.submit(self._bring, arrived, phase, member, parcel, waited_for[member])
            while waited_for:
                try:
                    member, answer = arrived.get(timeout=self.deadlines.pulse)
                except queue.Empty:
                    list(pool.map(self._take_pulse, list(waited_for.items())))
                    continue
                del waited_for[member]
                yield member, answer

    def _patience(self, phase: Phase, member: int) -> _Patience:
        return _Patience(self._ended[member], STAGES * self.deadlines.of(phase))

    def _bring(
        self,
        arrived: queue.SimpleQueue[tuple[int, list[bytes] | RemoteProtocolError]],
        phase: Phase,
        member: int,
        parcel: Sequence[bytes],
        patience: _Patience,
    ) -> None:
        answer: list[bytes] | RemoteProtocolError | None = self._why_left_out(phase, member)
        if answer is None:
            answer = self._ask(member, DELIVER, pack(parcel), self.deadlines.of(phase), patience)
            self._note(phase, member, isinstance(answer, RemoteProtocolError), patience)
        arrived.put((member, answer))

    def _why_left_out(self, phase: Phase, member: int) -> RemoteProtocolError | None:
        if phase is Phase.MASK and self._overruns[member] >= _MOST_OVERRUNS:
            return RemoteProtocolError(
                "too-slow", f"The site failed at {_MOST_OVERRUNS} updates in a row, and begins no other in this epoch."
            )
        if member not in self._late:
            return None
        found = self._ask(member, PULSE, pack([]), self.deadlines.again, self._ended[member])
        if isinstance(found, RemoteProtocolError):
            return found
        return RemoteProtocolError("still-busy", "The site is at work on what it was sent before.") if found else None

    def _note(self, phase: Phase, member: int, failed: bool, patience: _Patience) -> None:
        (self._late.add if failed else self._late.discard)(member)
        if phase is not Phase.MASK:
            return
        if not failed:
            del self._overruns[member]
        elif patience.was_there:
            self._overruns[member] += 1

    def _take_pulse(self, waited_for: tuple[int, _Patience]) -> None:
        member, patience = waited_for
        answer = self._ask(member, PULSE, pack([]), self.deadlines.pulse, self._ended[member])
        patience.note_pulse(not isinstance(answer, RemoteProtocolError))

    def _ask(
        self, member: int, topic: str, request: Message, deadline: float, patience: Signal
    ) -> list[bytes] | RemoteProtocolError:
        if self._ended[member].triggered:
            return RemoteProtocolError("site-ended", "The site's process has ended.")
        try:
            reply = self.cell.send_request(
                channel=CHANNEL,
                target=self.cells[member],
                topic=topic,
                request=request,
                timeout=deadline,
                abort_signal=patience,
            )
            return unpack(reply)
        except RemoteProtocolError as error:
            return error
        except Exception as error:
            return RemoteProtocolError("not-delivered", f"NVFlare could not deliver: {type(error).__name__}.")
