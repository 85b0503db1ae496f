"""How many hospitals may be gone at once, and the neighbour graph and the noise levels that follow from it.

Knows shares and counts. Which graphs are safe is in `secagg.graph`.
"""

from __future__ import annotations

import math

from secagg.charter.sections import ENCRYPTED_SCHEMES, NeighbourGraph, Scheme
from secagg.charter.thresholds import smallest_threshold
from secagg.errors import InputError
from secagg.graph import COMPLETE_UP_TO, smallest_graph

# A share such as 0.07 times 100 may come out just below 7.
_ROUNDING = 1e-9


def count_dropped(members: int, colluding: int, dropout: float) -> int:
    """How many of ``members`` are gone when a share of ``dropout`` is, rounded down.

    Raises:
        InputError: ``bad-dropout``, ``too-many-dropped`` if fewer are left than a sum takes.
    """
    if not 0 <= dropout < 1:
        raise InputError(
            "bad-dropout", f"A share of {dropout} of the hospitals cannot drop out.", remedy="Give 0 or more, below 1."
        )
    dropped, threshold = math.floor(dropout * members + _ROUNDING), smallest_threshold(members, colluding)
    if members - dropped < threshold:
        raise InputError(
            "too-many-dropped",
            f"With {dropped} of {members} hospitals gone, {members - dropped} are left; a sum needs {threshold}.",
            remedy=f"Plan for a share of at most {math.floor(100 * (members - threshold) / members) / 100:g}, "
            "or for fewer colluders.",
        )
    return dropped


def chosen_graph(scheme: Scheme, members: int, colluding: int, dropout: float) -> NeighbourGraph:
    """The graph that a charter takes. All mask with all up to 100 hospitals, or if no smaller graph would do.

    Who opens a sum must know the keys of all that are in it: no graph for encrypted schemes, whatever their size.

    Raises:
        InputError: ``bad-dropout``, ``too-many-dropped``, where there are more than 100.
    """
    if members <= COMPLETE_UP_TO or scheme in ENCRYPTED_SCHEMES:
        return NeighbourGraph()
    return NeighbourGraph.of(smallest_graph(members, colluding, count_dropped(members, colluding, dropout)))


def chosen_noise_levels(members: int, fewest: int, colluding: int, dropout: float) -> tuple[int, ...]:
    """For how many survivors surplus noise is removed, where it may be: for those who are left of such a drop-out.

    Args:
        fewest: of how many survivors all but those who may collude surely add noise.

    Raises:
        InputError: ``bad-dropout``, ``too-many-dropped``.
    """
    if not fewest < members <= COMPLETE_UP_TO:
        return ()
    left = members - count_dropped(members, colluding, dropout)
    return (left,) if left > fewest else ()
