"""What a charter must fulfil at a site: small checks, each with its own reason code.

Knows charters and policies. The budget over all charters is the ledger's to enforce, not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES, shared_key
from secagg.errors import RefusedError
from secagg.identity import fingerprint
from secagg.policy.model import Policy
from secagg.policy.needs import honest_in_a_sum

Check = Callable[[Charter, Policy], None]


def check_charter(charter: Charter, policy: Policy) -> None:
    """Refuse a charter that this site's policy does not allow.

    Raises:
        RefusedError: for the first check that fails, with its reason code.
    """
    for check in CHECKS.values():
        check(charter, policy)


def refusals(charter: Charter, policy: Policy) -> Mapping[str, RefusedError]:
    """Every check that fails, by the key of the policy that it fails for."""
    found = {}
    for key, check in CHECKS.items():
        try:
            check(charter, policy)
        except RefusedError as error:
            found[key] = error
    return found


def known_members(charter: Charter, policy: Policy) -> None:
    """Every member is one whose key this site has compared with its owner."""
    for member in charter.members:
        if fingerprint(member.public_key) not in policy.known_members:
            raise RefusedError(
                "unknown-member",
                f"The charter lists {member.name} with the key {fingerprint(member.public_key)}, "
                "which this site's policy does not know.",
                culprit=member.name,
                remedy="Compare the fingerprint with its owner, then add it to known_members.",
            )


def large_enough_cohort(charter: Charter, policy: Policy) -> None:
    """A sum hides each hospital among enough others."""
    if charter.threshold < policy.minimum_cohort:
        raise _refusal(
            "cohort-too-small", "sums may be taken over", charter.threshold, policy.minimum_cohort, "hospitals at least"
        )


def enough_honest(charter: Charter, policy: Policy) -> None:
    """Every sum holds enough honest hospitals, even if `max_colluding` collude and a lying coordinator leaves out whom
    it can.
    """
    honest = honest_in_a_sum(charter)
    if honest < policy.minimum_honest:
        raise _refusal("too-few-honest", "honest hospitals in a sum may be", honest, policy.minimum_honest, "at least")


def allowed_scheme(charter: Charter, policy: Policy) -> None:
    """The scheme is one that this site trusts."""
    if charter.scheme in policy.allowed_schemes:
        return
    refusal = _refusal("scheme-not-allowed", "the scheme is", charter.scheme, _listed(policy.allowed_schemes), "only")
    if charter.scheme in SHARED_KEY_SCHEMES:
        caution = shared_key(charter.scheme)
        raise RefusedError(
            refusal.reason, f"{refusal.message} {caution.message}", remedy=f"{caution.remedy} {refusal.remedy}"
        )
    raise refusal


def allowed_task(charter: Charter, policy: Policy) -> None:
    """The task is built in, or its code is known here."""
    if charter.task.kind not in policy.allowed_tasks:
        raise _refusal("task-not-allowed", "the task is", charter.task.kind, _listed(policy.allowed_tasks), "only")


def allowed_privacy(charter: Charter, policy: Policy) -> None:
    """Differential privacy is on, in a mode that this site trusts."""
    if charter.privacy.mode not in policy.allowed_privacy_modes:
        allowed = _listed(policy.allowed_privacy_modes)
        raise _refusal("privacy-mode-not-allowed", "the privacy mode is", charter.privacy.mode, allowed, "only")


def bounded_epsilon(charter: Charter, policy: Policy) -> None:
    """Its budget is within this site's."""
    budget = charter.privacy.budget
    if charter.privacy.mode != "none" and budget > policy.maximum_epsilon:
        raise _refusal("epsilon-too-large", "epsilon may reach", budget, policy.maximum_epsilon, "at most")


def bounded_delta(charter: Charter, policy: Policy) -> None:
    """Its delta is within this site's."""
    delta = charter.privacy.delta
    if charter.privacy.mode != "none" and delta > policy.maximum_delta:
        raise _refusal("delta-too-large", "delta is", delta, policy.maximum_delta, "at most")


def bounded_weight(charter: Charter, policy: Policy) -> None:
    """No hospital outweighs the others."""
    if charter.encoding.max_weight > policy.maximum_weight:
        raise _refusal(
            "weight-too-large", "one hospital may weigh", charter.encoding.max_weight, policy.maximum_weight, "at most"
        )


def protected_metrics(charter: Charter, policy: Policy) -> None:
    """Validation counts carry noise, unless this site says otherwise."""
    if charter.metrics.release == "exact" and policy.release_exact_metrics == "refuse":
        raise _refusal("exact-metrics", "validation counts are", "exact", "noise on them or none released", "")


CHECKS: Final[Mapping[str, Check]] = {
    "allowed_schemes": allowed_scheme,
    "known_members": known_members,
    "minimum_cohort": large_enough_cohort,
    "minimum_honest": enough_honest,
    "allowed_tasks": allowed_task,
    "allowed_privacy_modes": allowed_privacy,
    "maximum_epsilon": bounded_epsilon,
    "maximum_delta": bounded_delta,
    "maximum_weight": bounded_weight,
    "release_exact_metrics": protected_metrics,
}
"""By the key of the policy that each looks at; an allowed mode comes before its epsilon. The scheme comes first: who is
told of anything else mends that, and has to know before what the scheme gives away."""


def _refusal(reason: str, what: str, value: object, limit: object, bound: str) -> RefusedError:
    return RefusedError(
        reason,
        f"By the charter {what} {value}; this site's policy asks for {limit}{' ' + bound if bound else ''}.",
        remedy="Change policy.toml if this site agrees, or ask for another charter.",
    )


def _listed(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))
