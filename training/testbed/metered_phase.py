"""One phase of a consortium whose parties share this process: messages pass, and a meter reads what each party spends.

Knows the order in which messages pass. They are handed on one by one, so that there is never more than one vector in
flight, as where hospitals answer over a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from secagg.errors import LocalProtocolError
from secagg.masking import MaskingClient, MaskingServer
from secagg.masking.states import ServerState
from secagg.wire import COORDINATOR, Outbox
from training.testbed.meter import Meter, Phase


@dataclass(frozen=True)
class MeteredPhase:
    """A key set-up or a round, between the two sides of the protocol."""

    name: Phase
    meter: Meter
    server: MaskingServer
    clients: Mapping[int, MaskingClient]

    def set_up(self) -> None:
        """A key set-up, in which all take part."""
        outbox = self._coordinator(self.server.open)
        while outbox:
            outbox = self._to_coordinator(self.to_hospitals(outbox, self.clients))

    def sum_up(self, step: int, masked: Callable[[int], bytes], present: Collection[int]) -> Outbox:
        """A round, up to the messages that give the sum out: nobody has received them yet.

        Args:
            masked: makes the message with a hospital's vector, and meters that itself.
            present: those who do not drop out. The others have no word of the round.

        Raises:
            ProtocolError: why there is no sum.
        """
        self.to_hospitals(self._coordinator(lambda: self.server.begin(step)), present)
        outbox: Outbox = []
        for number in present:
            outbox += self._to_coordinator([(number, masked(number))])
        outbox = outbox or self._coordinator(self.server.timeout)
        while self.server.result is None:
            if not outbox or self.server.state is ServerState.READY:
                raise self.server.fault or LocalProtocolError("out-of-turn", "A round came to no end.")
            outbox = self._to_coordinator(self.to_hospitals(outbox, present))
        return outbox

    def to_hospitals(self, outbox: Outbox, present: Collection[int]) -> Outbox:
        """Hand messages to those who are present; their replies."""
        replies: Outbox = []
        for number, message in outbox:
            if number not in present:
                continue
            self.meter.sent_down(self.name, number, len(message))
            with self.meter.of(self.name, number, len(message)):
                answers = self.clients[number].receive(message)
            replies += [(number, answer) for answer in answers]
        return replies

    def _to_coordinator(self, replies: Outbox) -> Outbox:
        outbox: Outbox = []
        for number, reply in replies:
            self.meter.sent_up(self.name, number, len(reply))
            with self.meter.of(self.name, COORDINATOR, len(reply)):
                outbox += self.server.receive(number, reply)
        return outbox

    def _coordinator(self, work: Callable[[], Outbox]) -> Outbox:
        with self.meter.of(self.name, COORDINATOR):
            return work()
