"""Which charters contradict themselves, or promise what cannot be kept.

Knows the whole charter, and what each scheme and privacy mode needs of the rest of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from secagg.charter import thresholds
from secagg.charter.sections import ENCRYPTED_SCHEMES, MASKED_SCHEMES, MOST_NOISE_LEVELS, Training
from secagg.errors import InputError
from secagg.graph import SECURITY_BITS, Graph, hiding_bound, smallest_threshold_of
from secagg.homomorphic.parameters import parameter_set
from secagg.identity import fingerprint, is_weak
from secagg.labels import DIGEST_SIZE

if TYPE_CHECKING:
    from secagg.charter.model import Charter

FEWEST_MEMBERS: Final = 3
# Of an epoch's homomorphic secret a coordinator learns n log2(E + 1) bits at most, by false sums: 3,460 of 6,492 in the
# largest consortium that this allows (`docs/encryption.md`).
MOST_OPENINGS: Final = 10_000


def require_consistent(charter: Charter) -> None:
    """Refuse a charter that contradicts itself.

    Raises:
        InputError: naming the first contradiction.
    """
    require_possible(len(charter.members), charter.max_colluding)
    _check_members(charter)
    _check_threshold(charter)
    _check_graph(charter)
    _check_homomorphic(charter)
    _check_privacy(charter)
    _check_distributed(charter)
    _check_metrics(charter)


def require_possible(members: int, colluding: int) -> None:
    """Refuse a consortium of which no sum would be safe.

    Raises:
        InputError: ``too-few-members``, ``too-many-colluding``.
    """
    if members < FEWEST_MEMBERS:
        raise InputError(
            "too-few-members",
            f"A consortium has {FEWEST_MEMBERS} hospitals or more, and this one {members}: "
            "a sum over two tells each of them the other's part.",
            remedy="Add a hospital.",
        )
    if thresholds.smallest_threshold(members, colluding) > members:
        raise InputError(
            "too-many-colluding",
            f"No threshold is safe for {members} members of which {colluding} collude.",
            remedy=f"max_colluding (--colluding) may be {members - 2} at most; or add members.",
        )


def _check_members(charter: Charter) -> None:
    for what, values in (
        ("name", [member.name for member in charter.members]),
        ("public key", [member.public_key for member in charter.members]),
        # Policies know a member by it, and one party can make two keys with one fingerprint in about 2^50 tries.
        ("fingerprint", [fingerprint(member.public_key) for member in charter.members]),
    ):
        if len(set(values)) != len(values):
            raise InputError(
                "duplicate-member", f"Two members of the charter have the same {what}.", remedy="List each member once."
            )
    for member in charter.members:
        if is_weak(member.public_key):
            raise InputError(
                "weak-identity",
                f"The public key of {member.name} is one for which anybody can sign.",
                culprit=member.name,
                remedy="Ask for another, made with `secagg identity new`, and how this one came to be.",
            )


def _check_threshold(charter: Charter) -> None:
    count = len(charter.members)
    smallest = thresholds.smallest_threshold(count, charter.max_colluding)
    if not smallest <= charter.threshold <= count:
        raise InputError(
            "unsafe-threshold",
            f"The threshold {charter.threshold} is outside {smallest} to {count}, "
            f"what {count} members of which {charter.max_colluding} may collude need.",
            remedy=f"Set threshold = {smallest} (--threshold).",
        )


def _check_graph(charter: Charter) -> None:
    count, chosen = len(charter.members), charter.graph
    graph = Graph(chosen.degree, chosen.threshold)
    if graph == Graph(0, 0):
        return
    if not 1 <= graph.threshold <= graph.degree < count:
        raise InputError(
            "graph-contradicts",
            f"A graph of degree {graph.degree} and threshold {graph.threshold} cannot be for {count} members.",
            remedy="Set 1 <= graph.threshold <= graph.degree < members, or leave graph out: all mask with all.",
        )
    if hiding_bound(count, charter.max_colluding, graph) <= -SECURITY_BITS:
        return
    safe = smallest_threshold_of(count, charter.max_colluding, graph.degree)
    raise InputError(
        "unsafe-graph",
        f"With {graph.degree} neighbours and a threshold of {graph.threshold} among {count} members of which "
        f"{charter.max_colluding} may collude, a sum could be over half of the others or fewer, with a probability "
        f"above 2^-{SECURITY_BITS}.",
        remedy=f"Set graph.threshold = {safe} or more." if safe else "Raise graph.degree: `secagg plan` says how far.",
    )


def _check_homomorphic(charter: Charter) -> None:
    parameter_set(charter.homomorphic.parameters)
    if charter.scheme not in ENCRYPTED_SCHEMES:
        return
    require_few_openings(len(charter.members), charter.epoch_rounds)
    if charter.graph.degree:
        raise InputError(
            "graph-contradicts",
            f"Under the scheme {charter.scheme} every hospital opens the sum itself, and must know everybody's keys.",
            culprit="graph",
            remedy="Leave graph out: all have to do with all. Or choose the scheme mask.",
        )


def require_few_openings(members: int, epoch_rounds: int) -> None:
    """Refuse an epoch in which one homomorphic secret opens too many sums.

    Raises:
        InputError: ``secret-used-too-often``.
    """
    if members * epoch_rounds > MOST_OPENINGS:
        raise InputError(
            "secret-used-too-often",
            f"{members} hospitals would each open {epoch_rounds} sums with one secret. If one opens, that may tell a "
            f"coordinator that lies a bit of it; {MOST_OPENINGS} are the most.",
            culprit="epoch_rounds",
            remedy=f"Set epoch_rounds (--epoch-rounds) to {MOST_OPENINGS // members} or less.",
        )


def _check_privacy(charter: Charter) -> None:
    privacy = charter.privacy
    if privacy.mode == "none":
        return
    if privacy.noise_multiplier == 0:
        raise InputError(
            "no-noise",
            f"The privacy mode is {privacy.mode}, but the noise multiplier is 0.",
            remedy="Give a noise multiplier above 0, or mode none.",
        )
    if charter.training.weighting == "records":
        raise InputError(
            "weights-not-private",
            "Weighting by records releases record counts without noise, which differential privacy does not cover.",
            remedy='Set weighting = "uniform".',
        )
    if charter.statistics.features:
        raise InputError(
            "statistics-not-private",
            "Feature statistics taken by secure sum carry no noise, which differential privacy does not cover.",
            remedy='Set standardise = "bounds" in the task and give each feature its public bounds.',
        )


def _check_distributed(charter: Charter) -> None:
    privacy = charter.privacy
    if len(privacy.noise_digest) != (DIGEST_SIZE if privacy.noise_levels else 0):
        raise InputError(
            "noise-levels-contradict",
            f"A digest of noise has {DIGEST_SIZE} bytes where there are levels, and none where there are not.",
            culprit="privacy.noise_digest",
            remedy="Draft the charter with `secagg charter new`.",
        )
    if privacy.mode == "distributed":
        _check_steps(charter.training)
        _check_who_hides(charter)
    elif privacy.noise_levels:
        raise _levels_contradict(f"The privacy mode is {privacy.mode}, in which no hospital adds a share of noise.")
    if privacy.noise_levels:
        _check_levels(charter)


def _check_steps(training: Training) -> None:
    if training.local_steps != 1:
        raise InputError(
            "steps-contradict",
            f"Under distributed differential privacy every sum is one step, but training.local_steps is "
            f"{training.local_steps}.",
            culprit="training.local_steps",
            remedy="Set training.local_steps = 1, and training.rounds to the number of steps.",
        )
    if training.prox_mu or training.momentum or training.weight_decay:
        raise InputError(
            "steps-contradict",
            "Under distributed differential privacy no hospital takes steps of its own, to which momentum, weight "
            "decay or prox_mu could belong.",
            culprit="training",
            remedy="Leave them out. Momentum is the server's, as the learning rate is.",
        )


def _check_who_hides(charter: Charter) -> None:
    """Shares of noise hide a patient only if nobody sees a vector by itself."""
    if charter.scheme not in MASKED_SCHEMES:
        raise InputError(
            "noise-not-shared",
            f"Under the scheme {charter.scheme} a coordinator that colludes with one hospital sees every vector, and "
            "each carries a share of the noise only.",
            culprit="scheme",
            remedy="Choose the scheme mask or double-lock, or local differential privacy.",
        )


def _check_levels(charter: Charter) -> None:
    check_noise_levels(charter.privacy.noise_levels, len(charter.members), charter.threshold)
    if charter.graph.degree:
        raise _levels_contradict(
            "Among neighbours a lying coordinator can leave hospitals out of a sum, and their noise with them: it is "
            "sized for half of the honest ones, and none is surplus."
        )
    if charter.privacy.noise != "skellam":
        raise _levels_contradict(
            "Discrete Gaussians of different variances do not add up to one, so that noise cannot be added in parts."
        )
    if charter.scheme != "mask":
        raise _levels_contradict(
            f"Surplus noise is removed from a sum by the coordinator, who cannot do that under {charter.scheme}."
        )


def _levels_contradict(message: str) -> InputError:
    return InputError(
        "noise-levels-contradict",
        message,
        culprit="privacy.noise_levels",
        remedy="Leave privacy.noise_levels out.",
    )


def check_noise_levels(levels: Sequence[int], members: int, threshold: int) -> None:
    """Refuse numbers of survivors at which noise cannot be removed.

    Raises:
        InputError: ``noise-levels-contradict``.
    """
    falling = all(above > below for above, below in pairwise((*levels, threshold)))
    if levels and not (falling and levels[0] <= members and len(levels) <= MOST_NOISE_LEVELS):
        raise InputError(
            "noise-levels-contradict",
            f"The noise levels {', '.join(map(str, levels))} do not fall from {members} members or fewer to above the "
            f"threshold {threshold}, or are more than {MOST_NOISE_LEVELS}.",
            culprit="privacy.noise_levels",
            remedy="Give numbers of survivors, the largest first.",
        )


def _check_metrics(charter: Charter) -> None:
    metrics, privacy = charter.metrics, charter.privacy
    if (metrics.release == "none") != (metrics.cells == 0):
        raise InputError(
            "metrics-contradict",
            f"Metrics are released as {metrics.release} with {metrics.cells} cells.",
            remedy="Set metrics.cells to the number of counts, or to 0 where none are released.",
        )
    if metrics.release == "exact" and privacy.mode != "none":
        raise InputError(
            "metrics-not-private",
            "Exact validation counts carry no noise, which differential privacy does not cover.",
            remedy='Set metrics.release (--metrics) to "noisy" or "none".',
        )
    if metrics.release == "noisy" and (privacy.mode == "none" or privacy.metric_noise_multiplier == 0):
        raise InputError(
            "metrics-contradict",
            "Noisy metrics need a privacy mode and a metric_noise_multiplier above 0.",
            remedy='Set metrics.release (--metrics) to "exact" or "none", or give the mode (--dp) and the noise.',
        )
    if metrics.target is not None and metrics.release == "none":
        raise InputError(
            "target-without-metrics",
            "The charter sets a target for a metric that it does not release.",
            remedy='Set metrics.release (--metrics) to "exact" or "noisy".',
        )
