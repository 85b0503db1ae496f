"""`secagg audit`: what was sent and summed, from the records that were kept of it, and what an attacker gets."""

from __future__ import annotations

import click

from cli.lazy import LazyCommand, LazyGroup


@click.group(cls=LazyGroup)
def audit() -> None:
    """Check and report what was sent and summed, and test the protection.

    \b
    Examples:
      secagg audit egress run/hospitals/aachen
      secagg audit report run/hospitals/aachen --charter run/charter
      secagg audit attack
      secagg audit privacy
    """


for _name, _help in (
    ("egress", "Show what left a hospital, and check its log."),
    ("transcript", "Recompute every sum from the coordinator's transcript."),
    ("report", "Report on a run, for a privacy officer or for all hospitals."),
    ("export", "Export a hospital's signed records of one charter."),
    ("attack", "Attack a consortium on this machine, and show who refuses it."),
    ("privacy", "Test the claimed epsilon by training with made-up patients."),
):
    audit.add_command(LazyCommand(_name, f"cli.audit_{_name}:{_name}", _help))
