"""How long messages take on the way: a line between each hospital and the coordinator, and the coordinator's own.

Knows bits a second and round trips. Knows nothing of engines: what they put around messages is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.masking.sizes import Traffic

_BITS: int = 8


@dataclass(frozen=True)
class Link:
    """A line, bits a second in each direction, as who is connected by it sees them."""

    down: float
    up: float


@dataclass(frozen=True)
class Network:
    """Everybody's lines.

    Attributes:
        hospital: of each hospital alone.
        coordinator: that all messages pass.
        latency: seconds from a hospital to the coordinator and back.
    """

    hospital: Link
    coordinator: Link
    latency: float


def transfer_time(traffic: Traffic, members: int, network: Network) -> float:
    """Seconds until all messages of a phase have passed: whichever line is slower, and a round trip for each answer.

    Args:
        traffic: of an average hospital.
        members: how many hospitals there are.
    """
    hospital, coordinator = network.hospital, network.coordinator
    up = _BITS * traffic.bytes_up * max(1 / hospital.up, members / coordinator.down)
    down = _BITS * traffic.bytes_down * max(1 / hospital.down, members / coordinator.up)
    return up + down + traffic.messages_down * network.latency
