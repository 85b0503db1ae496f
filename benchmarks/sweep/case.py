"""One case of a sweep: a scheme, and the consortium that it is measured for.

Knows numbers, and which of them cannot be had together. Knows nothing of how anything is measured.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec

from secagg.charter.sections import (
    ENCRYPTED_SCHEMES,
    MASKED_SCHEMES,
    MOST_MEMBERS,
    MOST_PARAMETERS,
    PrivacyMode,
)
from secagg.charter.sections import Scheme as CharterScheme
from secagg.charter.thresholds import smallest_threshold
from secagg.encoding.packing import packed_size
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.graph import Graph, smallest_graph
from secagg.homomorphic.form import form_of
from secagg.homomorphic.parameters import fitting_parameters
from training.choices import USUAL_DROPOUT, USUAL_FIELD_BITS
from training.dropout import count_dropped

Scheme = Literal["plain", "mask", "mask-graph", "double-lock", "bfv", "ckks", "flower", "nvflare"]
"""``plain``: FedAvg without protection. ``mask``: all with all; ``mask-graph``: with a few neighbours that are drawn.
``flower``: SecAgg+ by Flower's functions. ``nvflare``: homomorphic encryption by NVFlare's calls of TenSEAL."""

SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
# Bytes that a message holds.
_LONGEST: Final = (1 << 32) - 1
BASELINES: Final = frozenset({"plain", "flower", "nvflare"})


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one measurement is of.

    Attributes:
        hospitals: n.
        parameters: d.
        dropout: the share of hospitals that send nothing in each round, rounded down to hospitals.
        dp: differential privacy; hospitals draw its noise and add it.
    """

    scheme: Scheme
    hospitals: Annotated[int, msgspec.Meta(ge=3, le=MOST_MEMBERS)]
    parameters: Annotated[int, msgspec.Meta(ge=1, le=MOST_PARAMETERS)]
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    dp: PrivacyMode = "none"

    @property
    def name(self) -> str:
        """Unique and short: ``mask n=10 d=1000000 drop=0.1 dp=none``."""
        return f"{self.scheme} n={self.hospitals} d={self.parameters} drop={self.dropout:g} dp={self.dp}"

    @property
    def charter_scheme(self) -> CharterScheme | None:
        """As a charter calls it; None for a baseline."""
        if self.scheme in BASELINES:
            return None
        return "mask" if self.scheme == "mask-graph" else self.scheme  # type: ignore[return-value]

    @property
    def masked(self) -> bool:
        """Whether hospitals mask."""
        return self.charter_scheme in MASKED_SCHEMES

    @property
    def encrypted(self) -> bool:
        """Whether hospitals encrypt."""
        return self.charter_scheme in ENCRYPTED_SCHEMES

    @property
    def colluding(self) -> int:
        """c: a twentieth of the hospitals, one at least."""
        return max(1, self.hospitals // 20)

    @property
    def threshold(self) -> int:
        """t: the smallest that is safe."""
        return smallest_threshold(self.hospitals, self.colluding)

    @property
    def dropped(self) -> int:
        """How many send nothing.

        Raises:
            InputError: ``too-many-dropped``.
        """
        return count_dropped(self.hospitals, self.colluding, self.dropout)

    @property
    def planned_dropout(self) -> float:
        """The share of hospitals that a charter is drafted for: what is usual at least, however many drop."""
        return max(self.dropout, USUAL_DROPOUT)

    @property
    def graph(self) -> Graph | None:
        """The neighbours that hospitals draw; None where all have to do with all, or no graph is safe."""
        if self.scheme != "mask-graph":
            return None
        planned = count_dropped(self.hospitals, self.colluding, self.planned_dropout)
        return smallest_graph(self.hospitals, self.colluding, planned)

    @property
    def peers(self) -> float:
        """With how many others a hospital masks, on average; 0 where it does not."""
        if not self.masked:
            return 0
        graph = self.graph
        if graph is None:
            return self.hospitals - 1
        return graph.degree * (2 - graph.degree / (self.hospitals - 1))


def check_case(case: Case) -> None:
    """Refuse what cannot be had.

    Raises:
        InputError: ``too-many-dropped``, ``no-graph``, ``dp-contradicts``, ``too-large``.
    """
    try:
        _ = case.dropped
    except InputError as error:
        raise error.with_remedy("Take a smaller share, or more hospitals.", case.name) from error
    if case.scheme == "mask-graph" and case.graph is None:
        raise InputError(
            "no-graph",
            f"Among {case.hospitals} hospitals no drawn neighbours are safe but all others.",
            culprit=case.name,
            remedy="Take the scheme mask, or more hospitals.",
        )
    if case.dp != "none" and case.scheme in BASELINES:
        raise InputError(
            "dp-contradicts",
            f"{case.scheme} is a baseline, which is measured without differential privacy.",
            culprit=case.name,
            remedy="Take dp none, or another scheme.",
        )
    if case.dp == "distributed" and not case.masked:
        raise InputError(
            "dp-contradicts",
            f"Under {case.scheme} one hospital's key opens every vector, and each carries a share of noise only.",
            culprit=case.name,
            remedy="Take mask, mask-graph or double-lock, or dp local.",
        )
    if case.charter_scheme and _sum_size(case, case.charter_scheme) > _LONGEST:
        raise InputError(
            "too-large",
            f"Under {case.scheme}, a sum of {case.parameters} parameters is longer than a message can be.",
            culprit=case.name,
            remedy="Take fewer parameters, or the scheme mask." if case.encrypted else "Take fewer parameters.",
        )


def _sum_size(case: Case, scheme: CharterScheme) -> int:
    """Bytes."""
    if not case.encrypted:
        return packed_size(case.parameters + 1, USUAL_FIELD_BITS)
    parameters = fitting_parameters(case.parameters, case.hospitals)
    return form_of(scheme, parameters, Ring(USUAL_FIELD_BITS), case.parameters + 1, case.hospitals).sum_size
