"""What a run writes down: the costs of one case, by phase and party, and what the machine can do at most.

Knows units: seconds, yardsticks, bytes. Knows nothing of how they came about.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from benchmarks.sweep.case import Case
from training.testbed.meter import Phase

Party = Literal["hospital", "coordinator"]
Kind = Literal["time", "memory"]

PHASES: Final[tuple[Phase, ...]] = ("set-up", "encoding", "round")


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one phase costs one party: the median hospital that was real, or the coordinator. None: not measured.

    Attributes:
        cpu, wall: seconds, on one core.
        yardsticks: CPU time in those of the same moment (`benchmarks.flower.yardstick`); None also where a piece of
            work is too long to say.
        memory: bytes, the most by which the party made its process grow within the phase, with what it was given: the
            update, a vector, a message.
        bytes_up, bytes_down: to the coordinator and from it; of the coordinator those of all hospitals together.
        messages_up, messages_down: the same in messages.
    """

    phase: Phase
    party: Party
    cpu: float | None = None
    wall: float | None = None
    yardsticks: float | None = None
    memory: float | None = None
    bytes_up: float | None = None
    bytes_down: float | None = None
    messages_up: float | None = None
    messages_down: float | None = None


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="case"):
    """One turn of one case, in a process of its own.

    Attributes:
        kind: ``time``, or ``memory``, in which no time is to be believed: the allocator gives everything back.
        real_hospitals: how many did everything; the others were real in all but what `benchmarks.sweep.spared` leaves
            out.
        error: root mean square of the difference between the mean that came out and that of the exact float sum, over
            the root mean square of the latter; None with differential privacy, where it would be that of the noise.
        by: whose code it was, with its version.
        field_bits: of the numbers that are added up; None of a baseline, which has its own.
        lacks: what a baseline does not do, or is not measured doing.
    """

    case: Case
    turn: int
    kind: Kind
    real_hospitals: int
    costs: tuple[Cost, ...]
    error: float | None
    by: str
    lacks: str = ""
    field_bits: int | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="limits"):
    """What one core of the machine does at most, in bytes a second.

    Attributes:
        cipher: of keystream, AES-256 as masks take it, into a buffer that stays in the cache.
        memory: read and written, adding one vector that does not fit the cache to another in place.
    """

    turn: int
    cipher: float
    memory: float


Row = Measurement | Limits
