"""A site's policy as an immutable value.

Knows the limits and their strict defaults. How it is written is in `secagg.policy.toml`, what a charter must fulfil in
`secagg.policy.checks`, and which change needs signatures in `secagg.policy.loosening`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec

from secagg.charter.sections import PrivacyMode, Scheme
from secagg.identity import PublicKey, fingerprint, is_weak

OfficerKey = PublicKey
ExactMetrics = Literal["refuse", "allow"]


class Countersigning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who must sign before this policy may be loosened.

    Attributes:
        officers: public keys (Ed25519, 32 bytes, base64 in the file), each of one person and of no hospital.
        signatures: how many of them must sign.
    """

    officers: frozenset[OfficerKey]
    signatures: Annotated[int, msgspec.Meta(ge=2)] = 2

    def __post_init__(self) -> None:
        if len(self.officers) < self.signatures:
            raise ValueError(f"signatures is {self.signatures}, more than the number of officers, {len(self.officers)}")
        weak = [fingerprint(key) for key in self.officers if is_weak(key)]
        if weak:
            raise ValueError(f"anybody can sign for the officer {min(weak)}; no key that a person made is like that")


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least this site accepts. The defaults are the strict ones, in force where there is no file.

    Attributes:
        known_members: fingerprints that this site has compared with their owners. A charter with another is refused.
        minimum_cohort: the least t of a charter, the fewest hospitals that a sum is asked for.
        minimum_honest: the fewest hospitals left in a sum when all that may collude do: t - c where all mask with all.
            Among neighbours more than half of the honest, whatever t.
        allowed_schemes: of aggregation. By default those that hold against a coordinator that colludes with up to c
            hospitals; ``bfv`` and ``ckks`` hold against none that colludes with any, and must be allowed by name.
        allowed_privacy_modes: of differential privacy; ``none`` is not among the defaults.
        maximum_epsilon: for each data set, over all charters, at ``maximum_delta``.
        maximum_weight: the most records that one hospital may count as.
        allowed_tasks: kinds of task; code of one's own (``module:function``) must be listed by name.
        release_exact_metrics: whether validation counts may be summed without noise.
        countersigning: whose signatures a looser policy needs; nobody's if not given.
    """

    known_members: frozenset[str] = frozenset()
    minimum_cohort: Annotated[int, msgspec.Meta(ge=2)] = 3
    minimum_honest: Annotated[int, msgspec.Meta(ge=2)] = 2
    allowed_schemes: frozenset[Scheme] = frozenset({"mask", "double-lock"})
    allowed_privacy_modes: frozenset[PrivacyMode] = frozenset({"local", "distributed"})
    # The upper bound keeps infinity out: JSON has none, so that what is signed and remembered could not be read back.
    maximum_epsilon: Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)] = 8.0
    maximum_delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-5
    maximum_weight: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    allowed_tasks: frozenset[str] = frozenset({"tabular-classification", "image-classification"})
    release_exact_metrics: ExactMetrics = "refuse"
    countersigning: Countersigning | None = None

    def __post_init__(self) -> None:
        officers = self.countersigning.officers if self.countersigning else frozenset()
        both = {fingerprint(key) for key in officers} & self.known_members
        if both:
            raise ValueError(f"the officer {min(both)} has a hospital's key; an officer needs one of their own")

    def canonical(self) -> bytes:
        """The policy as the bytes that are signed and remembered: spaces and comments of the file change nothing."""
        return msgspec.json.encode(self, order="sorted")
