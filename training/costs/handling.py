"""What it takes to handle a message, whatever is in it: measured on five real hospitals that sum one parameter.

What their rounds take beyond the operations that are measured one by one is what finds out which message is due, whose
it is and what follows, in a process that was waiting for it.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Final

from secagg.charter.sections import Scheme
from secagg.charter.thresholds import smallest_threshold
from secagg.masking.sizes import Shape
from training.costs.rates import Rates
from training.costs.times import Handling, times_of
from training.costs.trial import Trial

_HOSPITALS: Final = 5
_ROUNDS: Final = 5


def fitted_on(scheme: Scheme) -> Shape:
    """The consortium that handling is measured on: no drop-outs."""
    return Shape(_HOSPITALS, smallest_threshold(_HOSPITALS, 1), 0, 2, 24, _ROUNDS, None, scheme)


@lru_cache(maxsize=4)
def handling_of(scheme: Scheme, rates: Rates) -> Handling:
    """Of a message under this scheme, on this machine."""
    shape = fitted_on(scheme)
    # First, since it says what is missing where something cannot be had.
    known = times_of(shape, rates, Handling())
    with tempfile.TemporaryDirectory() as folder, Trial(Path(folder), shape) as trial:
        trial.set_up()
        rounds = [trial.round() for _ in range(_ROUNDS)]
    hospital = median(spent.hospital for spent in rounds) - known.hospital
    coordinator = median(spent.coordinator for spent in rounds) - known.coordinator
    messages = 3 + shape.masked
    return Handling(max(hospital, 0) / messages, max(coordinator, 0) / shape.survivors)
