"""Refuses options that another option makes meaningless, so that nobody believes that they took effect.

Loads nothing else of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import click
from click.core import ParameterSource


@dataclass(frozen=True)
class Use:
    """What an option takes to mean anything: another one, ``decider``, a choice, with one of these values."""

    decider: str
    values: frozenset[str]


def is_given(context: click.Context, name: str) -> bool:
    """Whether the parameter of this name is on the command line, be it with its default."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def require_effect(context: click.Context, uses: Mapping[str, Use]) -> None:
    """Refuse a parameter on the command line that has no use as the others are.

    Args:
        uses: by the parameter's name; those that the command does not have are passed over.

    Raises:
        click.UsageError: naming it and what it needs.
    """
    parameters = {parameter.name or "": parameter for parameter in context.command.params}
    for name, use in uses.items():
        if name in parameters and is_given(context, name) and context.params[use.decider] not in use.values:
            raise click.UsageError(_without_effect(parameters[name], parameters[use.decider], use.values), context)


def _without_effect(option: click.Parameter, decider: click.Parameter, values: frozenset[str]) -> str:
    here = [choice for choice in cast("click.Choice[str]", decider.type).choices if choice in values]
    spelt = option.opts[0]
    needed = " or ".join(f"{decider.opts[0]} {choice}" for choice in here)
    return f"{spelt} has no effect without {needed}: add it, or leave {spelt} out."
