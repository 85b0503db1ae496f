"""What each scheme costs a consortium, as JSON, and what is recommended."""

from __future__ import annotations

import math

import msgspec

from cli import recommended
from cli.recommended import RecommendationJson
from secagg.charter.cautions import SHARED_KEY_SCHEMES, Caution, shared_key
from secagg.charter.sections import Scheme
from secagg.masking.sizes import Traffic
from training.costs.memory import Memory
from training.planning import Plan, Plans
from training.recommending.recommendation import Recommendation


class PlansJson(msgspec.Struct, frozen=True):
    """The ways there are, and what is recommended; null where one scheme was asked for."""

    ways: list[PlanJson]
    recommendation: RecommendationJson | None


class PlanJson(msgspec.Struct, frozen=True):
    """One way to run the consortium; null where nothing can fail. Bytes, messages: of an average hospital.

    Attributes:
        coordinator_sees, coordinator_with_one_hospital_sees: ``nothing``, ``sum`` or ``updates``; null where nothing
            is promised.
        coordinator_disk: bytes that the coordinator keeps of each round.
        homomorphic: the parameter set of ciphertexts; null where there are none.
    """

    scheme: Scheme
    graph: str
    chosen: bool
    coordinator_sees: str
    coordinator_with_one_hospital_sees: str | None
    threshold: int
    degree: int
    holders_threshold: int
    hiding_log2: float | None
    recovery_log2: float | None
    masks_with: float
    homomorphic: str | None
    set_up: Traffic
    round: Traffic
    bytes_up_per_parameter: float
    bytes_down_per_parameter: float
    seconds_set_up: float
    seconds_set_up_coordinator: float
    seconds_round_hospital: float
    seconds_round_coordinator: float
    memory: Memory
    coordinator_disk: int
    warnings: list[Caution]


def plans_json(plans: Plans, found: Recommendation | None) -> PlansJson:
    """Both, to be printed; ``found`` is None where one scheme was asked for."""
    return PlansJson([_plan(one) for one in plans.ways], recommended.as_json(found) if found else None)


def _plan(one: Plan) -> PlanJson:
    shape = one.shape
    return PlanJson(
        scheme=shape.scheme,
        graph="complete" if shape.graph is None else "sparse",
        chosen=one.chosen,
        coordinator_sees=one.coordinator_sees,
        coordinator_with_one_hospital_sees=one.coordinator_with_one_hospital_sees,
        threshold=shape.threshold,
        degree=shape.graph.degree if shape.graph else 0,
        holders_threshold=shape.share_threshold if shape.masked else 0,
        hiding_log2=one.hiding if math.isfinite(one.hiding) else None,
        recovery_log2=one.recovery if math.isfinite(one.recovery) else None,
        masks_with=shape.peers if shape.masked else 0,
        homomorphic=shape.parameter_set if shape.encrypted else None,
        set_up=one.set_up,
        round=one.round,
        bytes_up_per_parameter=one.round.bytes_up / one.parameters,
        bytes_down_per_parameter=one.round.bytes_down / one.parameters,
        seconds_set_up=one.times.set_up,
        seconds_set_up_coordinator=one.times.coordinator_set_up,
        seconds_round_hospital=one.times.hospital,
        seconds_round_coordinator=one.times.coordinator,
        memory=one.memory,
        coordinator_disk=one.coordinator_disk,
        warnings=[shared_key(shape.scheme)] if shape.scheme in SHARED_KEY_SCHEMES else [],
    )
