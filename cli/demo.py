"""`secagg demo`: eight hospitals, 569 real patients, start to signed release in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import msgspec

from cli.effect import require_effect
from cli.options import CHARTER_USES
from cli.output import json_option, print_json
from cli.paths import FOLDER
from cli.schemes import scheme_option
from cli.sizing import POSITIVE
from secagg.charter.sections import Scheme


@click.command()
@click.option(
    "--out",
    type=FOLDER,
    default="runs/demo",
    show_default=True,
    help="Folder of the run; the hospitals' records are written beside it.",
)
@click.option(
    "--dp",
    "privacy",
    type=click.Choice(["local", "none"]),
    default="local",
    show_default=True,
    help="Differential privacy.",
)
@click.option("--epsilon", type=POSITIVE, default=8.0, show_default=True, help="Privacy budget of the run.")
@scheme_option
@click.option("--hospitals-at", type=FOLDER, help="Folder of an earlier demo's hospitals, to train with them again.")
@click.option("--force", is_flag=True, help="Replace an earlier demo in the same folder.")
@json_option
@click.pass_context
def demo(
    context: click.Context,
    out: Path,
    privacy: Literal["local", "none"],
    epsilon: float,
    scheme: Scheme,
    hospitals_at: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate a consortium on this machine: 8 hospitals, 569 real patients, two drop-outs, a signed model, a report.

    The data are the Wisconsin breast cancer set that comes with scikit-learn, divided among eight invented hospitals.

    \b
    Examples:
      secagg demo
      secagg demo --dp none --out runs/without-dp
      secagg demo --scheme double-lock --out runs/double-lock     # the coordinator does not see the sum either
      secagg demo --out runs/again --hospitals-at runs/demo/hospitals     # refused: their budgets are spent
    """
    from cli.demo_run import demo_settings, introduce, records_beside, report_on, room_for
    from cli.run_view import show_result
    from cli.simulate_run import require_beside, start

    require_effect(context, CHARTER_USES)
    require_beside(hospitals_at, out)
    kept = str(hospitals_at.absolute()) if hospitals_at else None
    settings = msgspec.structs.replace(demo_settings(out, privacy, epsilon, scheme), hospitals_at=kept)
    with room_for(out, force), records_beside(out):
        if not as_json:
            introduce(privacy, epsilon, scheme)
        result = start(out, settings, as_json)
        report = report_on(result)
    print_json(result) if as_json else show_result(result, report)
