"""`secagg audit`: what was sent and summed, from the records that were kept of it."""

from __future__ import annotations

import click

from cli.lazy import LazyCommand, LazyGroup


@click.group(cls=LazyGroup)
def audit() -> None:
    """What was sent and summed, from the records that were kept of it.

    \b
    Example:
      secagg audit egress run/hospitals/aachen
    """


for _name, _help in (
    ("egress", "Show what left the hospital in FOLDER, and check its log."),
    ("transcript", "Recompute every sum from what a coordinator kept."),
):
    audit.add_command(LazyCommand(_name, f"cli.audit_{_name}:{_name}", _help))
