"""Which cases belong together: the short table, the whole, and what somebody asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from benchmarks.sweep.case import SCHEMES, Case, Scheme, check_case
from secagg.charter.sections import SCHEMES as CHARTER_SCHEMES
from secagg.charter.sections import PrivacyMode
from secagg.errors import InputError

_TENTH: Final = 0.1
# One of five.
_FIFTH: Final = 0.2
_MODES: Final[tuple[PrivacyMode, ...]] = ("none", "local", "distributed")


def short() -> list[Case]:
    """What `make bench` measures: all schemes side by side, more hospitals, and differential privacy."""
    return [
        *(Case(scheme=scheme, hospitals=5, parameters=1_000_000, dropout=_FIFTH) for scheme in _all_but_graph()),
        *(Case(scheme=scheme, hospitals=40, parameters=100_000, dropout=_TENTH) for scheme in ("mask", "flower")),
        Case(scheme="mask-graph", hospitals=120, parameters=10_000, dropout=_TENTH),
        *(Case(scheme="mask", hospitals=10, parameters=100_000, dropout=_TENTH, dp=mode) for mode in _MODES),
    ]


def full() -> list[Case]:
    """The whole: hospitals, parameters, drop-outs and privacy, each along the others' usual values. Hours."""
    return [*dict.fromkeys([*short(), *_by_hospitals(), *_by_parameters(), *_by_dropout(), *_by_privacy()])]


def grid(
    schemes: Sequence[Scheme],
    hospitals: Sequence[int],
    parameters: Sequence[int],
    dropouts: Sequence[float],
    modes: Sequence[PrivacyMode],
) -> tuple[list[Case], list[InputError]]:
    """All combinations that can be had, each once, and why the others cannot."""
    cases: list[Case] = []
    refused: list[InputError] = []
    asked = product(schemes, hospitals, parameters, dropouts, modes)
    for scheme, n, d, dropout, mode in dict.fromkeys(asked):
        case = Case(scheme=scheme, hospitals=n, parameters=d, dropout=dropout, dp=mode)
        try:
            check_case(case)
        except InputError as error:
            refused.append(error)
        else:
            cases.append(case)
    return cases, refused


def _all_but_graph() -> Iterator[Scheme]:
    return (scheme for scheme in SCHEMES if scheme != "mask-graph")


def _by_hospitals() -> Iterator[Case]:
    for n in (3, 10, 40, 100):
        for scheme in _all_but_graph():
            # Three hospitals are the fewest that a sum takes: none may drop.
            yield Case(scheme=scheme, hospitals=n, parameters=100_000, dropout=_TENTH if n > 3 else 0.0)
    for n in (200, 500, 1000):
        yield Case(scheme="plain", hospitals=n, parameters=100_000, dropout=_TENTH)
        yield Case(scheme="mask-graph", hospitals=n, parameters=100_000, dropout=_TENTH)
    for scheme in CHARTER_SCHEMES:
        yield Case(scheme=scheme, hospitals=200, parameters=100_000, dropout=_TENTH)
    yield Case(scheme="mask-graph", hospitals=1000, parameters=1_000_000, dropout=_TENTH)


def _by_parameters() -> Iterator[Case]:
    for d in (10_000, 100_000, 1_000_000, 5_000_000):
        for scheme in _all_but_graph():
            yield Case(scheme=scheme, hospitals=10, parameters=d, dropout=_TENTH)
    for d in (25_000_000, 100_000_000):
        fitting: tuple[Scheme, ...] = CHARTER_SCHEMES if d <= 25_000_000 else ("mask", "double-lock")
        for scheme in ("plain", *fitting):
            yield Case(scheme=scheme, hospitals=10, parameters=d, dropout=_TENTH)


def _by_dropout() -> Iterator[Case]:
    for dropout in (0.0, 0.1, 0.2, 0.3):
        for scheme in ("mask", "double-lock"):
            yield Case(scheme=scheme, hospitals=40, parameters=100_000, dropout=dropout)
        yield Case(scheme="mask-graph", hospitals=200, parameters=100_000, dropout=dropout)


def _by_privacy() -> Iterator[Case]:
    for d, mode in product((10_000, 100_000, 1_000_000), _MODES):
        yield Case(scheme="mask", hospitals=10, parameters=d, dropout=_TENTH, dp=mode)
    for mode in _MODES:
        yield Case(scheme="double-lock", hospitals=10, parameters=100_000, dropout=_TENTH, dp=mode)
