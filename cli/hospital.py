"""`secagg hospital`: a hospital's site in the field, from its folder to a running process."""

from __future__ import annotations

from pathlib import Path

import click

from cli.device import device_option
from cli.hospital_check import check
from cli.identity import passphrase_option
from cli.output import console, epsilon, json_option, print_json, say_why
from cli.site_view import SiteView, stopped_by_hand
from secagg.errors import InputError, RefusedError, TamperingError
from training.device_name import DeviceName
from training.field.status import SiteState, SiteStatus, StatusFile
from training.run_lock import is_running

_SITE = click.argument("site", type=click.Path(path_type=Path, file_okay=False))
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def hospital() -> None:
    """This hospital's site, where hospitals are in different buildings.

    \b
    Example, from nothing to a running site:
      secagg hospital init site --charter charter --identity identity.pem --kit hospital-01 --data patients.csv
      secagg hospital check site
      secagg hospital run site
    """


hospital.add_command(check)


@hospital.command()
@_SITE
@click.option("--charter", type=_FOLDER, required=True, help="The charter's folder, signed by every member.")
@click.option("--identity", type=_FILE, required=True, help="This hospital's signing key.")
@click.option("--kit", type=_FOLDER, required=True, help="The start-up kit that this hospital was given.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="This hospital's records.")
@click.option("--policy", type=_FILE, help="What this site accepts; one that accepts just this charter if not given.")
@device_option
@passphrase_option
@json_option
def init(
    site: Path,
    charter: Path,
    identity: Path,
    kit: Path,
    data: Path,
    policy: Path | None,
    device: DeviceName,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make SITE, this hospital's folder: keys, charter, policy, start-up kit, and where its records are.

    Everything is checked before anything is written: that the key is a member's, that the kit is this member's, that
    the records can be read. The records stay where they are.

    \b
    Example:
      secagg hospital init site --charter charter --identity identity.pem --kit hospital-01 --data patients.csv
    """
    from training.engines.nvflare.site_kits import require_hospital_kit
    from training.field.laying_out import HospitalMaterial, lay_out_hospital
    from training.field.settings import HospitalSettings

    settings = HospitalSettings(
        data=str(data.absolute()),
        device=device,
        passphrase_file=str(passphrase_file.absolute()) if passphrase_file else None,
    )
    made = lay_out_hospital(site, HospitalMaterial(charter, identity, kit, settings, policy), require_hospital_kit)
    if as_json:
        print_json({"site": str(made.path), "policy": str(made.folder.policy), "settings": str(made.settings)})
        return
    click.echo(f"{made.path}: ready. Its records stay where they are.")
    click.echo(f"Read {made.folder.policy}: it says what this site accepts.")
    click.echo(f"Next: secagg hospital check {made.path}")


@hospital.command()
@_SITE
@json_option
def run(site: Path, as_json: bool) -> None:
    """Take part in every epoch of SITE's charter until the release is here. Ends cleanly on SIGTERM or Ctrl-C.

    Reconnects by itself, also after a reboot: give it to a supervisor that starts it again when it fails. It ends with
    0 once the model is released, and with 4 if this hospital has stopped because somebody lied.

    \b
    Example:
      secagg hospital run site
    """
    from training.engines.nvflare.hospital_service import serve_hospital
    from training.field.hospital_site import HospitalSite

    place = HospitalSite(site.absolute())
    with stopped_by_hand(f"secagg hospital run {site}") as going:
        status = serve_hospital(place, going, SiteView(as_json).watcher)
    if status.state is SiteState.STOPPED:
        raise TamperingError(status.reason or "stopped", status.message or "", remedy=status.remedy)
    if not as_json:
        click.echo(f"Released. Check it: secagg model verify {place.release}")


@hospital.command()
@_SITE
@json_option
def status(site: Path, as_json: bool) -> None:
    """Show how SITE is doing. Ends with 0 if it runs or is done, 1 if it does not run, 3 or 4 if it has stopped.

    \b
    Examples:
      secagg hospital status site
      for a supervisor, as health:
        secagg hospital status site --json
    """
    found = StatusFile(site / "status.json").read()
    if found is None:
        raise InputError(
            "never-run",
            f"{site} holds no site that has ever run.",
            culprit=str(site),
            remedy=f"Start it: secagg hospital run {site}",
        )
    running = is_running(site)
    if as_json:
        print_json({"running": running, "status": found})
    else:
        _show(site, found, running)
    click.get_current_context().exit(_health(found, running))


def _show(site: Path, found: SiteStatus, running: bool) -> None:
    console.print(f"{found.name or site}: [bold]{found.state}[/bold] since {found.since}", soft_wrap=True)
    console.print(f"process   {'running' if running else 'not running'}")
    console.print(f"charter   {found.charter}", soft_wrap=True)
    console.print(f"steps     {found.steps} of {found.steps_due}")
    console.print(f"epsilon   {epsilon(found.epsilon)}, of this run")
    if found.budget:
        style = "yellow" if found.budget.alert else ""
        console.print(f"budget    {found.budget.told()}", style=style, markup=False, soft_wrap=True)
    if found.reason:
        say_why(found.message, found.remedy, found.reason)


def _health(found: SiteStatus, running: bool) -> int:
    match found.state:
        case SiteState.STOPPED:
            return TamperingError.exit_code
        case SiteState.REFUSED:
            return RefusedError.exit_code
        case SiteState.RELEASED:
            return 0
        case SiteState.FAILED:
            return 1
        case _:
            return 0 if running else 1
