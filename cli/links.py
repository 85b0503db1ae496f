"""Lines as options have them: ``100mbit``, or ``50/10mbit`` where down and up differ.

Loads nothing that trains.
"""

from __future__ import annotations

import re
from typing import Any, Final

import click

from cli.sizing import Number
from training.costs.links import Link

_UNITS: Final = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_WRITTEN: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?:/(\d{1,6}(?:\.\d{1,3})?))?(kbit|mbit|gbit)", re.IGNORECASE)
_MOST_MILLISECONDS: Final = 60_000
_MILLI: Final = 1e-3


class LinkSpeed(click.ParamType):  # type: ignore[type-arg]  # Generic only in newer releases.
    """What comes down and what goes up in a second, as providers state it."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """The line, or click's failure, which names the option."""
        if isinstance(value, Link):
            return value
        found = _WRITTEN.fullmatch(str(value))
        down, up = (float(found[1]), float(found[2] or found[1])) if found else (0.0, 0.0)
        if not found or min(down, up) <= 0:
            self.fail(f"{value!r} is not a speed such as 100mbit, or 50/10mbit for down and up.", param, ctx)
        unit = _UNITS[found[3].lower()]
        return Link(down * unit, up * unit)


class Latency(Number):
    """Milliseconds, as seconds."""

    name = "ms"

    def __init__(self) -> None:
        super().__init__(min=0, max=_MOST_MILLISECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The seconds, or click's failure, which names the option."""
        return _MILLI * super().convert(value, param, ctx)


link_option = click.option(
    "--link",
    type=LinkSpeed(),
    default="100mbit",
    show_default=True,
    help="Speed of each hospital's line; as down/up where they differ, such as 50/10mbit.",
)
coordinator_link_option = click.option(
    "--coordinator-link",
    type=LinkSpeed(),
    default="1gbit",
    show_default=True,
    help="Speed of the coordinator's line, which carries all traffic.",
)
latency_option = click.option(
    "--latency",
    type=Latency(),
    default=40,
    show_default=True,
    help="Round-trip time between a hospital and the coordinator, in milliseconds.",
)
