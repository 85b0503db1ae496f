"""What schemes will cost a consortium before there is one: messages and bytes exactly, time as on this machine.

Knows which ways there are to run a consortium. What one costs is in `secagg.masking.sizes` and `training.costs`, which
way to take in `training.recommending`. Knows nothing of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.contradictions import check_noise_levels, require_few_openings, require_possible
from secagg.charter.sections import Optimizer, Scheme
from secagg.charter.state_size import LARGEST_SEALED, MOMENTS, model_snapshot, require_sealable
from secagg.charter.thresholds import smallest_threshold
from secagg.errors import InputError
from secagg.graph import COMPLETE_UP_TO, hiding_bound, recovery_bound, smallest_graph
from secagg.homomorphic.parameters import fitting_parameters
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS
from training.costs.handling import handling_of
from training.costs.memory import Memory, memory_of
from training.costs.rates import Rates, measured_rates
from training.costs.times import Times, times_of
from training.disk_room import round_bytes
from training.dropout import count_dropped


@dataclass(frozen=True)
class Plan:
    """One way to run the consortium.

    Attributes:
        chosen: whether a charter of this scheme takes it.
        colluding: how many hospitals may collude with the coordinator.
        hiding, recovery: log2 of the bounds on what may fail at a set-up; -infinity where nothing can.
        coordinator_disk: bytes that the coordinator keeps of each round.
    """

    shape: Shape
    chosen: bool
    colluding: int
    hiding: float
    recovery: float
    set_up: Traffic
    round: Traffic
    times: Times
    memory: Memory
    coordinator_disk: int

    @property
    def parameters(self) -> int:
        """How many are trained, d."""
        return self.shape.length - 1

    @property
    def coordinator_sees(self) -> Literal["nothing", "sum"]:
        """What the coordinator learns of a round by itself."""
        return "nothing" if self.shape.encrypted else "sum"

    @property
    def coordinator_with_one_hospital_sees(self) -> Literal["sum", "updates"] | None:
        """What it learns of a round if one hospital colludes with it; None where nothing is promised then."""
        if self.shape.scheme in SHARED_KEY_SCHEMES:
            return "updates"
        return "sum" if self.colluding else None

    @property
    def optimizers_refused(self) -> tuple[Optimizer, ...]:
        """The server's optimizers with which no charter of this scheme can be had: a snapshot would be too large."""
        if not self.shape.encrypted:
            return ()
        return tuple(one for one in MOMENTS if model_snapshot(self.parameters, self.shape.bits, one) > LARGEST_SEALED)


@dataclass(frozen=True)
class Plans:
    """The ways that there are, by scheme in the order that was asked for; masks with all first, then with neighbours.

    Attributes:
        left_out: why a scheme that was asked for cannot be had.
    """

    ways: tuple[Plan, ...]
    left_out: Mapping[Scheme, InputError]


def make_plans(
    members: int,
    parameters: int,
    colluding: int,
    dropout: float,
    rounds: int = USUAL_EPOCH_ROUNDS,
    bits: int = USUAL_FIELD_BITS,
    schemes: Sequence[Scheme] = ("mask",),
    noise_levels: Sequence[int] = (),
) -> Plans:
    """Plan for n hospitals and d parameters.

    Args:
        dropout: the share of hospitals that may be gone at once, in [0, 1).
        rounds: E, of a key set-up.
        bits: of a ring element.
        schemes: what is encrypted is measured only if it is among these.
        noise_levels: of a charter under which noise is removed; of the scheme ``mask`` alone, where all mask with
            all.

    Raises:
        InputError: ``too-few-members``, ``too-many-colluding``, ``bad-dropout``, ``too-many-dropped``,
            ``noise-levels-contradict``; why the first
            scheme cannot be had, if none can: ``too-large``, ``secret-used-too-often``, ``snapshot-too-large``, or what
            this machine lacks to encrypt.
    """
    require_possible(members, colluding)
    threshold = smallest_threshold(members, colluding)
    check_noise_levels(noise_levels, members, threshold)
    dropped = count_dropped(members, colluding, dropout)
    parameter_set = fitting_parameters(parameters, members)
    complete = Shape(members, threshold, dropped, parameters + 1, bits, rounds, None, parameter_set=parameter_set)
    rates = measured_rates()
    ways: list[Plan] = []
    left_out: dict[Scheme, InputError] = {}
    for scheme in schemes:
        try:
            levels = tuple(noise_levels) if scheme == "mask" else ()
            ways += _plans_for(replace(complete, scheme=scheme, noise_levels=levels), colluding, rates)
        except InputError as error:
            left_out[scheme] = error
    if not ways:
        raise next(iter(left_out.values()))
    return Plans(tuple(ways), left_out)


def _plans_for(complete: Shape, colluding: int, rates: Rates) -> list[Plan]:
    if complete.encrypted:
        require_few_openings(complete.members, complete.rounds)
        return [_plan(complete, True, colluding, rates)]
    graph = smallest_graph(complete.members, colluding, complete.dropped)
    if graph is None:
        return [_plan(complete, True, colluding, rates)]
    large = complete.members > COMPLETE_UP_TO
    # Among neighbours no noise is surplus.
    sparse = replace(complete, graph=graph, noise_levels=())
    return [_plan(complete, not large, colluding, rates), _plan(sparse, large, colluding, rates)]


def _plan(shape: Shape, chosen: bool, colluding: int, rates: Rates) -> Plan:
    graph, members = shape.graph, shape.members
    hiding = hiding_bound(members, colluding, graph) if graph else -math.inf
    recovery = recovery_bound(members, shape.dropped, graph) if graph else -math.inf
    # Before anything is measured: it says what is too large.
    traffic = round_traffic(shape)
    # Of the server's optimizers it is the one that keeps least.
    require_sealable(shape.scheme, model_snapshot(shape.length - 1, shape.bits, "fedavg"), "fedavg")
    times = times_of(shape, rates, handling_of(shape.scheme, rates))
    set_up, memory = set_up_traffic(shape), memory_of(shape)
    return Plan(shape, chosen, colluding, hiding, recovery, set_up, traffic, times, memory, round_bytes(shape))
