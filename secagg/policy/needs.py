"""What a charter asks of a site's policy, as the strictest policy that allows it.

Knows which of a charter's terms a policy speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from secagg.charter import Charter, Privacy
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.errors import InputError
from secagg.identity import fingerprint
from secagg.policy.model import Countersigning, OfficerKey, Policy


def honest_in_a_sum(charter: Charter) -> int:
    """How many hospitals that do not collude are surely in each sum."""
    return charter.surely_summed - charter.max_colluding


def needed_policy(charter: Charter) -> Policy:
    """The policy that allows this charter and nothing beyond it; the default epsilon and delta where it has none."""
    # Without differential privacy nothing in a charter is held against its figures: they can be any.
    privacy = charter.privacy if charter.privacy.mode != "none" else Privacy()
    return Policy(
        known_members=frozenset(fingerprint(member.public_key) for member in charter.members),
        minimum_cohort=charter.threshold,
        minimum_honest=honest_in_a_sum(charter),
        allowed_schemes=frozenset({charter.scheme}),
        allowed_privacy_modes=frozenset({privacy.mode}),
        maximum_epsilon=privacy.budget or Policy().maximum_epsilon,
        maximum_delta=privacy.delta,
        maximum_weight=charter.encoding.max_weight,
        allowed_tasks=frozenset({charter.task.kind}),
        release_exact_metrics="allow" if charter.metrics.release == "exact" else "refuse",
    )


def first_policy(charter: Charter) -> Policy:
    """The same for a site that has no policy yet, whose people have not read one.

    A scheme under which all hospitals have one key is not in it, so that it does not allow such a charter: a person has
    to write the scheme's name. The default schemes are there instead.
    """
    policy = needed_policy(charter)
    return replace(policy, allowed_schemes=policy.allowed_schemes - SHARED_KEY_SCHEMES or Policy().allowed_schemes)


def draft_policy(
    charter: Charter | None, epsilon: float | None, officers: Iterable[OfficerKey], signatures: int
) -> Policy:
    """A policy to begin with: the strict defaults or the first for one charter, an epsilon, and who must sign a change.

    Raises:
        InputError: ``officers-cannot-sign``, if there are too few officers, or one has a hospital's key or a weak one.
    """
    policy = first_policy(charter) if charter else Policy()
    keys = frozenset(officers)
    try:
        countersigning = Countersigning(officers=keys, signatures=signatures) if keys else None
        return replace(policy, maximum_epsilon=epsilon or policy.maximum_epsilon, countersigning=countersigning)
    except ValueError as error:
        raise InputError(
            "officers-cannot-sign",
            f"This policy could never be changed: {error}.",
            culprit="--officer",
            remedy="Give the public key of each officer, made with `secagg identity new` for that alone.",
        ) from error
