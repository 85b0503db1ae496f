"""Long lists of cases: some of them are tested every time, the others with the slow tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def thinned(cases: Sequence[Any], kept: int) -> list[Any]:
    """The cases for `pytest.mark.parametrize`: all but ``kept``, two or more, spread from first to last, are slow."""
    often = {round(place * (len(cases) - 1) / (kept - 1)) for place in range(kept)}
    return [case if place in often else _slow(case) for place, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
