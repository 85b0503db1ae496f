"""What planning a consortium and drafting its charter both ask for; and numbers as options have them.

Loads nothing that trains: `secagg plan` starts at once.
"""

from __future__ import annotations

import math
from typing import Any

import click


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
# What a charter can hold.
_MOST_EPOCH_ROUNDS = 1000

colluding_option = click.option(
    "--colluding", type=click.IntRange(0), default=1, show_default=True, help="How many may conspire."
)
dropout_option = click.option(
    "--dropout",
    type=BELOW_ONE,
    default=0.1,
    show_default=True,
    help="The share that may be gone at once; above 100 hospitals it sets the number of neighbours.",
)
field_bits_option = click.option(
    "--field-bits", type=click.IntRange(16, 64), default=24, show_default=True, help="Bits a number."
)
epoch_rounds_option = click.option(
    "--epoch-rounds",
    type=click.IntRange(1, _MOST_EPOCH_ROUNDS),
    default=10,
    show_default=True,
    help="Rounds a key set-up.",
)
