"""`secagg audit`: what was sent and summed, from the records that were kept of it, and what an attacker gets."""

from __future__ import annotations

import click

from cli.lazy import LazyCommand, LazyGroup


@click.group(cls=LazyGroup)
def audit() -> None:
    """What was sent and summed, from the records that were kept of it, and what an attacker gets.

    \b
    Examples:
      secagg audit egress run/hospitals/aachen
      secagg audit report run/hospitals/aachen --charter run/charter
      secagg audit attack
      secagg audit privacy
    """


for _name, _help in (
    ("egress", "Show what left the hospital in FOLDER, and check its log."),
    ("transcript", "Recompute every sum from what a coordinator kept."),
    ("report", "Report on a run, for the officer of a site or for all."),
    ("export", "Write what a site shows of one charter, for others."),
    ("attack", "Attack a consortium on this machine, and show who refuses."),
    ("privacy", "Train with canaries, and bound epsilon from below."),
):
    audit.add_command(LazyCommand(_name, f"cli.audit_{_name}:{_name}", _help))
