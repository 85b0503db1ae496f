"""What schemes will cost a consortium before there is one: messages and bytes exactly, time as on this machine.

Knows the protocol's operations and how often each party does them; `training.rates` measures each for a moment. Knows
nothing of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from secagg.charter.model import FEWEST_MEMBERS, Scheme, check_noise_levels, smallest_threshold
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.graph import COMPLETE_UP_TO, hiding_bound, recovery_bound, smallest_graph
from secagg.homomorphic.parameters import fitting_parameters
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from training.dropout import count_dropped
from training.rates import CipherRates, Rates, basis_time, cipher_rates, rebuilding_time, sharing_time


@dataclass(frozen=True)
class Times:
    """Seconds, on this machine, one core each.

    Attributes:
        set_up: a hospital's part of a key set-up.
        hospital, coordinator: their parts of one round.
    """

    set_up: float
    hospital: float
    coordinator: float


@dataclass(frozen=True)
class Plan:
    """One way to run the consortium.

    Attributes:
        chosen: whether a charter of this scheme takes it.
        hiding, recovery: log2 of the bounds on what may fail at a set-up; -infinity where nothing can.
    """

    shape: Shape
    chosen: bool
    hiding: float
    recovery: float
    set_up: Traffic
    round: Traffic
    times: Times


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
    rounds: int = 10,
    bits: int = 24,
    schemes: Sequence[Scheme] = ("mask",),
    noise_levels: Sequence[int] = (),
) -> Plans:
    """Plan for n hospitals and d parameters.

    Args:
        dropout: the share of hospitals that may be gone at once, in [0, 1).
        rounds: E, of a key set-up.
        bits: of a ring element.
        schemes: what is encrypted is measured only if it is among these.
        noise_levels: of a charter under which noise comes off; of the scheme ``mask`` alone.

    Raises:
        InputError: ``too-few-members``, ``too-many-colluding``, ``bad-dropout``, ``too-many-dropped``,
            ``noise-levels-contradict``; why the first
            scheme cannot be had, if none can: ``too-large``, or what this machine lacks to encrypt.
    """
    threshold = smallest_threshold(members, colluding)
    if members < FEWEST_MEMBERS:
        raise InputError(
            "too-few-members", f"A consortium has {FEWEST_MEMBERS} hospitals or more.", remedy="Add a hospital."
        )
    if threshold > members:
        raise InputError(
            "too-many-colluding",
            f"No threshold is safe for {members} hospitals of which {colluding} collude.",
            remedy=f"At most {members - 2} may.",
        )
    check_noise_levels(noise_levels, members, threshold)
    dropped = count_dropped(members, colluding, dropout)
    complete = Shape(
        members, threshold, dropped, parameters + 1, bits, rounds, None, parameter_set=fitting_parameters(parameters)
    )
    rates = Rates.measured()
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
        return [_plan(complete, True, colluding, rates)]
    graph = smallest_graph(complete.members, colluding, complete.dropped)
    if graph is None:
        return [_plan(complete, True, colluding, rates)]
    large = complete.members > COMPLETE_UP_TO
    sparse = replace(complete, graph=graph)
    return [_plan(complete, not large, colluding, rates), _plan(sparse, large, colluding, rates)]


def _plan(shape: Shape, chosen: bool, colluding: int, rates: Rates) -> Plan:
    graph, members = shape.graph, shape.members
    hiding = hiding_bound(members, colluding, graph) if graph else -math.inf
    recovery = recovery_bound(members, shape.dropped, graph) if graph else -math.inf
    # Before anything is measured: it says what is too large.
    traffic = round_traffic(shape)
    ciphers = cipher_rates(shape.form) if shape.encrypted else None
    times = Times(
        _set_up_time(shape, rates, ciphers),
        _hospital_time(shape, rates, ciphers),
        _coordinator_time(shape, rates, ciphers),
    )
    return Plan(shape, chosen, hiding, recovery, set_up_traffic(shape), traffic, times)


def _set_up_time(shape: Shape, rates: Rates, ciphers: CipherRates | None) -> float:
    keys = (shape.secret_rounds + 1) * rates.agreement
    digests = 2 * shape.shared_secrets * shape.holders * rates.digest
    dealing = shape.holders * (2 * rates.agreement + rates.signature + rates.verification)
    rosters = (shape.peers + 1) * rates.verification
    # In a complete graph a hospital holds a share of its own.
    points = shape.holders + (0 if shape.graph else 1)
    sharing = shape.shared_secrets * sharing_time(shape.share_threshold, points) if shape.masked else 0
    secret = ciphers.key + rates.signature if ciphers else 0
    return keys + digests + dealing + rosters + sharing + secret + 2 * rates.record


def _hospital_time(shape: Shape, rates: Rates, ciphers: CipherRates | None) -> float:
    # The tag of what is sent and that of the sum: a keystream of eight bytes an element, and hashing what travels. A
    # component of noise is multiplied with the same keystream, which takes about as long as to make it.
    products = 8 * (1 + shape.seeds) * shape.length / rates.keystream
    tags = products + (shape.vector_bytes + shape.sum_bytes) / rates.hashing
    signatures = (1 + shape.masked + shape.agreed) * rates.signature + shape.checked_agreements * rates.verification
    masking = (shape.peers + 1) * (_mask_bytes(shape) / rates.keystream + rates.agreement) if shape.masked else 0
    encryption = shape.form.blocks * ciphers.encryption if ciphers else 0
    opening = _opening_time(shape, rates, ciphers) if ciphers else 0
    return masking + encryption + opening + tags + signatures + (3 + shape.agreed) * rates.record


def _opening_time(shape: Shape, rates: Rates, ciphers: CipherRates) -> float:
    """Of an encrypted sum, at every hospital: who signed, what is in it, and under double lock the masks off it."""
    decryption = shape.survivors * rates.verification + shape.form.blocks * ciphers.decryption
    return decryption + (_unmasking_time(shape, rates) if shape.masked else 0)


def _coordinator_time(shape: Shape, rates: Rates, ciphers: CipherRates | None) -> float:
    answers = shape.survivors * (1 + shape.masked + shape.agreed) * rates.verification
    if ciphers:
        # To write the sum down takes about as long as to add once more.
        adding = (shape.survivors + 1) * shape.form.blocks * ciphers.addition
        return answers + adding + (shape.survivors * shape.vector_bytes + shape.sum_bytes) / rates.hashing
    answers += shape.survivors * _mask_bytes(shape) / rates.hashing
    responders = shape.survivors if shape.graph else shape.threshold
    digests = responders * (shape.holders + 1) * (1 + shape.removed_components) * rates.digest
    return answers + digests + _unmasking_time(shape, rates)


def _unmasking_time(shape: Shape, rates: Rates) -> float:
    """Of the coordinator, or under double lock of every hospital: secrets rebuilt, masks computed and taken off."""
    rebuilding = rebuilding_time(shape.share_threshold)
    # In a sparse graph each hospital's holders are others, so that nothing is computed once for all.
    basis = basis_time(shape.share_threshold) if shape.graph else 0
    pairs = shape.dropped * min(shape.peers, shape.survivors)
    keystreams = (shape.survivors + pairs) * _mask_bytes(shape) / rates.keystream
    # Of noise that comes off only the seeds: how long it takes to draw is its sampler's matter.
    secrets = shape.members + shape.survivors * shape.removed_components
    return secrets * (rebuilding + basis) + keystreams + pairs * rates.agreement


def _mask_bytes(shape: Shape) -> int:
    """Of one mask: as wide as elements are computed in, which under double lock are several to one."""
    if shape.encrypted:
        return shape.form.packed_count * shape.form.packed_type.itemsize
    return shape.length * Ring(shape.bits).dtype.itemsize
