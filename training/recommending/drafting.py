"""The charter that follows from what is wanted, as far as privacy, width and neighbours set it.

What is recommended is made into a charter before it is said, and checked as `secagg charter new` checks its own, so
that nothing is recommended that it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dp.shares import Cohort, NoiseShares
from secagg.charter import Charter, Encoding, Homomorphic, Member, Metrics, Model, NeighbourGraph, TaskChoice, Training
from secagg.charter.rounding import is_coarse
from secagg.charter.sections import MOST_RECORDS, Privacy, Scheme
from secagg.charter.thresholds import smallest_threshold, surely_summed
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.identity import Identity
from secagg.labels import DIGEST_SIZE
from training.charter_check import checked_charter
from training.choices import USUAL_FIELD_BITS, USUAL_WEIGHT, CharterChoices, rounded_batch
from training.dropout import chosen_graph
from training.planning import Plan
from training.privacy_draft import Sizes, cohort_of, drafted_privacy
from training.recommending.wishes import Budget, Wishes, delta_of

# Bits a number, the first of which is what `charter new` takes where nobody chooses.
_WIDTHS: Final = (USUAL_FIELD_BITS, 32)


@dataclass(frozen=True)
class Draft:
    """The parts of a charter that privacy and width set.

    Attributes:
        batch: about how many patients are expected in a step, of all hospitals; 0 without differential privacy.
        shares: of the noise; None without differential privacy.
    """

    privacy: Privacy
    training: Training
    encoding: Encoding
    batch: int = 0
    shares: NoiseShares | None = None


def drafted(wishes: Wishes, scheme: Scheme) -> Draft:
    """The noise that the budget asks for, and a width that it fits.

    Raises:
        InputError: ``unreachable-epsilon``; ``batch-too-small``, ``batch-too-large``; ``noise-levels-contradict``.
    """
    _require_removable(wishes, scheme)
    budget = wishes.budget
    if budget is None:
        return Draft(Privacy(), Training(rounds=wishes.rounds), _encoding(wishes))
    choices, sizes = _asked(wishes, budget, scheme)
    found = drafted_privacy(choices, sizes)
    return Draft(found.privacy, choices.training, found.encoding, choices.expected_batch, found.shares)


def cohort_under(wishes: Wishes, budget: Budget, scheme: Scheme) -> Cohort:
    """Who shares the noise, and when some of it is removed, under a scheme that need not be what is recommended.

    Raises:
        InputError: ``noise-levels-contradict``; ``batch-too-small``, ``batch-too-large``.
    """
    here = wishes if scheme == "mask" else replace(wishes, noise_levels=None)
    return cohort_of(*_asked(here, budget, scheme))


def mask_levels(wishes: Wishes) -> tuple[int, ...]:
    """For how many survivors surplus noise is removed under ``mask``, whatever is recommended.

    Raises:
        InputError: as `cohort_under`.
    """
    return cohort_under(wishes, wishes.budget, "mask").levels if wishes.budget else ()


def _require_removable(wishes: Wishes, scheme: Scheme) -> None:
    if wishes.noise_levels is None or (wishes.budget and scheme == "mask"):
        return
    raise InputError(
        "noise-levels-contradict",
        f"Nobody can remove noise under {scheme}: the coordinator sees no sum."
        if wishes.budget
        else "Without a privacy budget there is no noise that could be removed.",
        culprit="noise levels",
        remedy="Leave --noise-level out." if wishes.budget else "Leave --noise-level out, or give --epsilon too.",
    )


def _asked(wishes: Wishes, budget: Budget, scheme: Scheme) -> tuple[CharterChoices, Sizes]:
    batch = _batch(budget)
    training = Training(rounds=wishes.rounds, local_steps=1, batch_size=batch, weighting="uniform")
    choices = CharterChoices(
        training=training,
        scheme=scheme,
        encoding=Encoding(field_bits=wishes.field_bits or USUAL_FIELD_BITS, max_weight=USUAL_WEIGHT),
        privacy="distributed",
        epsilon=budget.epsilon,
        delta=delta_of(budget),
        sampling_rate=budget.sampling_rate,
        expected_batch=batch,
        max_colluding=wishes.colluding,
        dropout=wishes.dropout,
        noise_levels=wishes.noise_levels,
    )
    threshold = smallest_threshold(wishes.members, wishes.colluding)
    fewest = surely_summed(wishes.members, threshold, wishes.colluding, _graph(wishes, scheme))
    return choices, Sizes(wishes.members, fewest, wishes.parameters, training, Metrics())


def _encoding(wishes: Wishes) -> Encoding:
    bits = wishes.field_bits or fitting_width(wishes.members, wishes.parameters)
    return Encoding(field_bits=bits, max_weight=min(USUAL_WEIGHT, _largest_weight(wishes.members, bits)))


def _batch(budget: Budget) -> int:
    expected = budget.sampling_rate * budget.patients
    if round(expected) < 1:
        raise InputError(
            "batch-too-small",
            f"Of {budget.patients} patients, less than one is expected in a step at a sampling rate of "
            f"{budget.sampling_rate:g}.",
            culprit="sampling rate",
            remedy="Raise --sampling-rate, or train on more patients.",
        )
    if round(expected) > MOST_RECORDS:
        raise InputError(
            "batch-too-large",
            f"Of {budget.patients} patients, {expected:.0f} are expected in a step at a sampling rate of "
            f"{budget.sampling_rate:g}; a charter holds {MOST_RECORDS} at most.",
            culprit="sampling rate",
            remedy="Lower --sampling-rate.",
        )
    return rounded_batch(expected)


def fitting_width(members: int, parameters: int) -> int:
    """b, such that hospitals with few patients lose little to rounding; the widest there is where none is enough."""
    for bits in _WIDTHS:
        if not is_coarse(members, parameters, Encoding(field_bits=bits, max_weight=USUAL_WEIGHT)):
            return bits
    return _WIDTHS[-1]


def _largest_weight(members: int, bits: int) -> int:
    """With which the weights of all are a signed number of b bits together."""
    return Ring(bits).largest // members


def _graph(wishes: Wishes, scheme: Scheme) -> NeighbourGraph:
    return chosen_graph(scheme, wishes.members, wishes.colluding, wishes.dropout)


def require_charter(wishes: Wishes, plan: Plan, draft: Draft) -> None:
    """Make a charter of it, of members that do not exist.

    Raises:
        InputError: whatever `secagg charter new` refuses of it.
    """
    shape = plan.shape
    identities = [Identity.from_seed(number.to_bytes(32, "big")) for number in range(1, wishes.members + 1)]
    charter = Charter(
        name="planned",
        nonce=bytes(16),
        members=tuple(Member(name=f"h{number}", public_key=one.public_key) for number, one in enumerate(identities, 1)),
        threshold=shape.threshold,
        max_colluding=wishes.colluding,
        model=Model(digest=bytes(DIGEST_SIZE), parameters=wishes.parameters),
        task=TaskChoice(kind="planned", settings={}),
        training=draft.training,
        scheme=shape.scheme,
        graph=_graph(wishes, shape.scheme),
        homomorphic=Homomorphic(parameters=shape.parameter_set) if shape.encrypted else Homomorphic(),
        encoding=draft.encoding,
        privacy=draft.privacy,
        epoch_rounds=shape.rounds,
    )
    checked_charter(charter)
