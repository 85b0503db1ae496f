"""`secagg coordinator`: the site of whoever adds up what it cannot read."""

from __future__ import annotations

from pathlib import Path

import click

from cli.json_text import json_text
from cli.output import console, json_option, print_json, say_why, warn
from cli.paths import EXISTING_FOLDER, FOLDER, quoted
from cli.site_view import SiteView, say, stopped_by_hand
from secagg.charter.cautions import Caution
from training.field.coordinator_site import CoordinatorSite
from training.field.coordinator_status import CoordinatorStatus, read_status
from training.field.status import SiteState
from training.run_lock import is_running

_SITE = click.argument("site", type=FOLDER)


@click.group()
def coordinator() -> None:
    """Set up and run the coordinator of a networked training. It holds no key that opens an update.

    \b
    Example, from nothing to a running site:
      secagg coordinator init site --charter charter --kit coordinator
      secagg coordinator run site
    """


@coordinator.command(short_help="Set up the coordinator's folder.")
@_SITE
@click.option(
    "--charter", type=EXISTING_FOLDER, required=True, help="Folder of the charter that every member has signed."
)
@click.option(
    "--kit", type=EXISTING_FOLDER, required=True, help="Folder of the start-up kits that the coordinator was given."
)
@json_option
def init(site: Path, charter: Path, kit: Path, as_json: bool) -> None:
    """Set up SITE, the coordinator's folder: charter, start-up kits, and settings that say how long it waits.

    \b
    Example:
      secagg coordinator init site --charter charter --kit coordinator
    """
    from training.engines.nvflare.extra import require_nvflare
    from training.engines.nvflare.process import require_startable
    from training.engines.nvflare.site_kits import require_coordinator_kits
    from training.field.laying_out import lay_out_coordinator

    require_nvflare()
    require_startable(site)
    warnings: list[Caution] = []
    made = lay_out_coordinator(site, charter, kit, require_coordinator_kits, warnings.append)
    if as_json:
        print_json({"site": str(made.path), "settings": str(made.settings), "warnings": warnings})
        return
    warn(warnings)
    click.echo(f"{made.path}: ready. {made.settings} says how long it waits.")
    click.echo(f"Next: secagg coordinator run {quoted(made.path)}")


@coordinator.command(short_help="Run the training until the model is released.")
@_SITE
@json_option
def run(site: Path, as_json: bool) -> None:
    """Run the training under SITE's charter until the model is released. Ends cleanly on SIGTERM or Ctrl-C.

    Progress is kept: started again, also after a crash, it goes on from where it was.

    Exit code 0 once the model is released, 1 if no epoch gave a sum for as long as its settings allow, 4 if something
    was altered or a hospital sent a secret key. After 1, find out why before you start it again: every hospital pays
    for rounds without a sum.

    \b
    Example:
      secagg coordinator run site
    """
    from training.engines.nvflare.extra import require_nvflare

    # Before what follows, which imports NVFlare.
    require_nvflare()
    from training.engines.nvflare.coordinator_service import serve_coordinator

    place = CoordinatorSite(site.absolute())
    with stopped_by_hand(f"secagg coordinator run {quoted(site)}") as going:
        release = serve_coordinator(place, going, SiteView(as_json).watcher)
    if as_json:
        # A line, as all that came before it.
        say(json_text({"release": str(release)}).decode())
    else:
        say(f"Released. The statement that every contributor signed: {release}")


@coordinator.command(short_help="Show whether the coordinator is running, and how far it is.")
@_SITE
@json_option
def status(site: Path, as_json: bool) -> None:
    """Show the state of SITE.

    Exit code 0 if it is running or the model is released, 1 if it is not running, 2 if SITE is not a coordinator's
    site, 4 if its charter or its state was altered.

    \b
    Examples:
      secagg coordinator status site
      as a health check, for a supervisor:
        secagg coordinator status site --json
    """
    # Asked first: what a process that has ended meanwhile wrote last is then read all the same.
    running = is_running(site)
    found = read_status(CoordinatorSite(site))
    if as_json:
        print_json({"running": running, "status": found})
    else:
        _show(found, running)
    click.get_current_context().exit(0 if running or found.state is SiteState.RELEASED else 1)


def _show(found: CoordinatorStatus, running: bool) -> None:
    console.print(f"{found.name}: [bold]{found.state}[/bold]", soft_wrap=True)
    console.print(f"process   {'running' if running else 'not running'}")
    console.print(f"charter   {found.charter}", soft_wrap=True)
    console.print(f"epochs    {found.epochs}")
    console.print(f"rounds    {found.rounds}")
    console.print(f"sums      {found.steps} of {found.steps_due}")
    if running and found.missing:
        console.print(f"missing   {', '.join(found.missing)}: not connected when last looked for", soft_wrap=True)
    for name, number in found.left_out.items():
        console.print(f"left out  {name}, which dealt wrongly (found in round {number})", soft_wrap=True)
    if found.state is SiteState.RELEASED:
        console.print(f"logs      {'signed for' if found.witnessed else 'not signed for'} by enough hospitals")
    if found.reason:
        say_why(found.message, found.remedy, found.reason)
