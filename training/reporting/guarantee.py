"""What a charter promises patients: the figures, what is said of them, and what they rest on.

The figures are those of `training.reporting.privacy_loss`. They are told in `plain_language` and in `nist_terms`;
`assumptions` says what they rest on, and what is not protected.
"""

from __future__ import annotations

import msgspec

from secagg.charter import Charter
from training.reporting import assumptions, nist_terms, plain_language
from training.reporting.nist_terms import NIST_SP_800_226, Term
from training.reporting.privacy_loss import InAll, privacy_loss
from training.reporting.rounds_run import Counted


class Guarantee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is promised.

    Attributes:
        epsilon: of the rounds that were run, or of all that the charter asks for where a target can end it; None
            without differential privacy. By Renyi divergences: what every ledger enforces.
        epsilon_of_plan: of all rounds that the charter asks for: what holds if whoever ended a run before chose the
            moment by what its sums showed. None where ``epsilon`` is that, or nothing was charged.
        epsilon_pld: the same by privacy loss distributions, for comparison; None where they do not apply.
        epsilon_continuous: no bound: what continuous noise in the place of integer noise would cost.
        rounds, sums: that ``epsilon`` covers.
        plain: one paragraph.
    """

    mode: str
    epsilon: float | None
    delta: float | None
    epsilon_of_plan: float | None
    epsilon_pld: float | None
    epsilon_continuous: float | None
    rounds: int
    sums: int
    plain: str
    terms: tuple[Term, ...]
    assumptions: tuple[str, ...]
    not_protected: tuple[str, ...]
    source: str = NIST_SP_800_226


def guarantee_of(
    charter: Charter, rounds: int, sums: int, counted: Counted = "charged", in_all: InAll | None = None
) -> Guarantee:
    """What a charter promises once so many rounds were run, so many of which gave a sum.

    Args:
        counted: where the number of rounds is from, which is said beside it.
        in_all: of a hospital that shows all its trainings.
    """
    if charter.privacy.mode == "none":
        return _without_privacy(charter, rounds, sums)
    loss = privacy_loss(charter, rounds, sums, counted, in_all)
    return Guarantee(
        mode=loss.plan.mode,
        epsilon=loss.epsilon,
        delta=loss.plan.delta,
        epsilon_of_plan=loss.of_plan,
        epsilon_pld=loss.pld,
        epsilon_continuous=loss.continuous,
        rounds=loss.rounds,
        sums=loss.sums,
        plain=plain_language.paragraph(charter, loss),
        terms=nist_terms.terms(charter, loss),
        assumptions=assumptions.assumed(charter, loss),
        not_protected=assumptions.not_protected(charter),
    )


def _without_privacy(charter: Charter, rounds: int, sums: int) -> Guarantee:
    return Guarantee(
        mode="none",
        epsilon=None,
        delta=None,
        epsilon_of_plan=None,
        epsilon_pld=None,
        epsilon_continuous=None,
        rounds=rounds,
        sums=sums,
        plain=plain_language.WITHOUT_PRIVACY,
        terms=nist_terms.WITHOUT_PRIVACY,
        assumptions=assumptions.WITHOUT_PRIVACY,
        not_protected=assumptions.not_protected(charter),
    )
