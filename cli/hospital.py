"""`secagg hospital`: a hospital's site in the field, from its folder to a running process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click
from rich.markup import escape

from cli.device import device_option
from cli.hospital_check import check
from cli.identity import passphrase_option
from cli.output import console, epsilon, json_option, print_json, say_why, warn
from cli.paths import EXISTING_FILE, EXISTING_FOLDER, FOLDER, PLACE, quoted
from cli.site_view import SiteView, say, stopped_by_hand
from secagg.charter.cautions import Caution
from secagg.charter.folder import read_charter
from secagg.errors import RefusedError, SecaggError, TamperingError
from secagg.passphrase import is_lasting
from training.device_name import DeviceName
from training.field.hospital_site import HospitalSite
from training.field.status import SiteState, SiteStatus
from training.run_lock import is_running

_SITE = click.argument("site", type=FOLDER)
_GOES_ON = "Its ledger goes on: what its patients have spent counts."
_NOTHING_SPENT = (
    "Its ledger is empty: no training is charged there. What its patients have spent in another folder counts once "
    "it is imported: secagg budget import."
)


@click.group()
def hospital() -> None:
    """Set up and run this hospital's part of a networked training.

    \b
    Example, from nothing to a running site:
      secagg hospital init site --charter charter --identity identity.pem --kit hospital-01 --data patients.csv
      secagg hospital check site
      secagg hospital run site
    the next training, which goes on with the site's ledger:
      secagg hospital renew site --charter charter-2
    """


hospital.add_command(check)


@hospital.command(short_help="Set up this hospital's folder.")
@_SITE
@click.option(
    "--charter", type=EXISTING_FOLDER, required=True, help="Folder of the charter that every member has signed."
)
@click.option("--identity", type=EXISTING_FILE, required=True, help="File with this hospital's signing key.")
@click.option(
    "--kit", type=EXISTING_FOLDER, required=True, help="Folder of the start-up kit that this hospital was given."
)
@click.option("--data", type=PLACE, required=True, help="File or folder of this hospital's records.")
@click.option(
    "--policy",
    type=EXISTING_FILE,
    help="Policy: what this site accepts; if not given, only this charter, and not one with the scheme bfv or ckks.",
)
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
    """Set up SITE, this hospital's folder: its key, charter, policy and start-up kit, and where its records are.

    Everything is checked before anything is written: that the key is a member's, that the kit is this member's, that
    the records can be read. The records stay where they are.

    \b
    Example:
      secagg hospital init site --charter charter --identity identity.pem --kit hospital-01 --data patients.csv
    """
    from training.engines.nvflare.extra import require_nvflare
    from training.engines.nvflare.process import require_startable
    from training.engines.nvflare.site_kits import require_hospital_kit
    from training.field.laying_out import HospitalMaterial, lay_out_hospital
    from training.field.settings import HospitalSettings

    require_nvflare()
    require_startable(site)
    settings = HospitalSettings(
        data=str(data.absolute()),
        device=device,
        passphrase_file=str(passphrase_file.absolute()) if passphrase_file and is_lasting(passphrase_file) else None,
    )
    material = HospitalMaterial(charter, identity, kit, settings, policy, passphrase_file)
    warnings: list[Caution] = []
    made = lay_out_hospital(site, material, require_hospital_kit, warnings.append)
    if as_json:
        paths = {"site": str(made.path), "policy": str(made.folder.policy), "settings": str(made.settings)}
        print_json({**paths, "passphrase_file": settings.passphrase_file, "warnings": warnings})
        return
    warn(warnings)
    click.echo(f"{made.path}: ready. Its records stay where they are.")
    click.echo(f"Read {made.folder.policy}: it says what this site accepts.")
    if passphrase_file and not settings.passphrase_file:
        click.echo(f"{passphrase_file} will be gone: say in {made.settings} where the passphrase is (passphrase_file).")
    click.echo(f"Next: secagg hospital check {quoted(made.path)}")


@hospital.command(short_help="Give this hospital's folder its next charter.")
@_SITE
@click.option("--charter", type=EXISTING_FOLDER, required=True, help="Folder of the next charter, signed by all.")
@click.option("--kit", type=EXISTING_FOLDER, help="Start-up kit, if another was made; if not given, the one in SITE.")
@click.option("--policy", type=EXISTING_FILE, help="What this site accepts from now on; if not given, SITE's policy.")
@click.option(
    "--passphrase-file",
    type=EXISTING_FILE,
    help="File whose first line is the passphrase of SITE's key; if not given, the one that SITE/hospital.toml names.",
)
@json_option
def renew(
    site: Path,
    charter: Path,
    kit: Path | None,
    policy: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Let SITE take part under its next charter, with the key, the records, the ledger and the latch that it has.

    What its patients have spent under earlier charters counts. A second folder for the same patients would have a
    ledger that knows nothing of it. Everything is checked before anything is written; the site must not be running.

    \b
    Examples:
      secagg hospital renew site --charter charter-2
      with the kit that was made for it, and a policy that allows more:
        secagg hospital renew site --charter charter-2 --kit hospital-01 --policy policy.toml
    """
    from training.engines.nvflare.extra import require_nvflare
    from training.engines.nvflare.site_kits import require_hospital_kit
    from training.field.renewing import NextCharter, renew_hospital

    require_nvflare()
    place = HospitalSite(site)
    warnings: list[Caution] = []
    following = NextCharter(charter, kit, policy, passphrase_file)
    entries = renew_hospital(place, following, require_hospital_kit, warnings.append)
    if as_json:
        paths = {"site": str(site), "policy": str(place.folder.policy), "settings": str(place.settings)}
        print_json({**paths, "ledger_entries": entries, "warnings": warnings})
        return
    warn(warnings)
    click.echo(f"{site}: ready for its next charter. {_GOES_ON if entries else _NOTHING_SPENT}")
    click.echo(f"Next: secagg hospital check {quoted(site)}")


@hospital.command(short_help="Take part in the training until the model is released.")
@_SITE
@json_option
def run(site: Path, as_json: bool) -> None:
    """Take part in the training under SITE's charter until the model is released. Ends cleanly on SIGTERM or Ctrl-C.

    Reconnects by itself. Run it under a supervisor such as systemd, which starts it again after a failure or a reboot.
    Exit code 0 once the model is released, 3 if the policy allows more than its officers have signed for, 4 if this
    hospital has stopped because of tampering.

    \b
    Example:
      secagg hospital run site
    """
    from training.engines.nvflare.extra import require_nvflare
    from training.engines.nvflare.hospital_service import serve_hospital

    require_nvflare()
    HospitalSite(site).require_laid_out()
    place = HospitalSite(site.absolute())
    with stopped_by_hand(f"secagg hospital run {quoted(site)}") as going:
        status = serve_hospital(place, going, SiteView(as_json).watcher)
    if status.state is SiteState.STOPPED:
        raise TamperingError(status.reason or "stopped", status.message or "", remedy=status.remedy)
    if not as_json:
        say(f"Released. Check it: secagg model verify {quoted(place.release)}")


@hospital.command(short_help="Show whether this site is running, and how far it is.")
@_SITE
@json_option
def status(site: Path, as_json: bool) -> None:
    """Show the state of SITE.

    Exit code 0 if it is running or finished, 1 if it is not running, 2 if SITE is not a hospital's site, 3 if it has
    refused, 4 if it has stopped because of tampering.

    \b
    Examples:
      secagg hospital status site
      as a health check, for a supervisor:
        secagg hospital status site --json
    """
    # Asked first: what a process that has ended meanwhile wrote last is then read all the same.
    running = is_running(site)
    place = HospitalSite(site)
    found = place.status.read()
    if found is None:
        place.require_laid_out()
        raise _never_run(site)
    if as_json:
        print_json({"running": running, "status": found})
    else:
        _show(place, found, running)
    click.get_current_context().exit(_health(found, running))


def _never_run(site: Path) -> SecaggError:
    return SecaggError(
        "never-run",
        f"The site in {site} has never run.",
        culprit=str(site),
        remedy=f"Start it: secagg hospital run {quoted(site)}",
    )


def _show(place: HospitalSite, found: SiteStatus, running: bool) -> None:
    console.print(
        f"{escape(found.name or str(place.path))}: [bold]{found.state}[/bold] since {found.since}", soft_wrap=True
    )
    console.print(f"process   {'running' if running else 'not running'}")
    console.print(f"charter   {found.charter}", soft_wrap=True)
    console.print(f"sums      {found.steps} of {found.steps_due}")
    if found.epsilon is not None or _is_without_privacy(place, found):
        console.print(f"epsilon   {epsilon(found.epsilon)} in this run")
    if found.budget:
        style = "yellow" if found.budget.alert else ""
        console.print(f"budget    {found.budget.told()}", style=style, markup=False, soft_wrap=True)
    if found.reason:
        say_why(found.message, found.remedy, found.reason)


def _is_without_privacy(place: HospitalSite, found: SiteStatus) -> bool:
    """By the charter: a status has no epsilon either before a job has opened the site."""
    with suppress(SecaggError):
        content = read_charter(place.charter)
        return content.digest().hex() == found.charter and content.privacy.mode == "none"
    return False


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
