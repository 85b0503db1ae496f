"""The option that chooses how updates are hidden, for every command that has it.

Loads nothing that trains.
"""

from __future__ import annotations

from typing import Any

import click

from secagg.charter.sections import SCHEMES

# Who wants homomorphic encryption and no scheme in particular gets the one that holds against colluders.
_HOMOMORPHIC = {"he": "double-lock"}


class SchemeChoice(click.Choice):  # type: ignore[type-arg]  # Generic only in newer releases.
    """A scheme of a charter by its name, or ``he`` for the default among the homomorphic ones."""

    def __init__(self) -> None:
        super().__init__([*SCHEMES, *_HOMOMORPHIC])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The scheme as a charter has it, or click's failure, which names the option."""
        name = super().convert(value, param, ctx)
        return _HOMOMORPHIC.get(name, name)


scheme_option = click.option(
    "--scheme",
    type=SchemeChoice(),
    default="mask",
    show_default=True,
    help="How updates are hidden. he (homomorphic encryption) is short for double-lock. bfv and ckks encrypt with one "
    "key that all hospitals share.",
)
