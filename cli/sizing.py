"""Options that `plan`, `charter new` and `simulate` share, and the types of numbers in options.

Loads nothing that trains: `secagg plan` starts at once.
"""

from __future__ import annotations

import math
from typing import Any

import click

from secagg.charter.sections import DELTA_LIMIT
from training.choices import USUAL_EPOCH_ROUNDS, USUAL_FIELD_BITS


class Number(click.FloatRange):
    """A number in a range, which "nan" never is, and "inf" never here."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or click's failure, which names the option."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


BELOW_ONE = Number(min=0, max=1, max_open=True)
POSITIVE = Number(min=0, min_open=True)
FRACTION = Number(min=0, min_open=True, max=1)
DELTA = Number(min=0, min_open=True, max=DELTA_LIMIT, max_open=True)
# What a charter can hold.
MOST_EPOCH_ROUNDS = 1000
MOST_ROUNDS = 1_000_000

colluding_option = click.option(
    "--colluding",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="How many hospitals may collude with the coordinator without learning another hospital's update.",
)
dropout_option = click.option(
    "--dropout",
    type=BELOW_ONE,
    default=0.1,
    show_default=True,
    help="Share of hospitals that may drop out at once. Above 100 hospitals it also sets the number of neighbours.",
)
field_bits_option = click.option(
    "--field-bits",
    type=click.IntRange(16, 64),
    default=USUAL_FIELD_BITS,
    show_default=True,
    help="Bits per number in a masked or encrypted vector.",
)
epoch_rounds_option = click.option(
    "--epoch-rounds",
    type=click.IntRange(1, MOST_EPOCH_ROUNDS),
    default=USUAL_EPOCH_ROUNDS,
    show_default=True,
    help="Rounds between two key set-ups.",
)


def duration(seconds: float) -> str:
    """Seconds in the unit that fits: 0.0123 as ``12.3 ms``."""
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{1000 * seconds:.1f} ms"
