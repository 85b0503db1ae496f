"""What a hospital's kit refuses, tried: ``python -m`` with a kit's folder, in a process of its own, checks as JSON.

Each hostile job is right in all but one thing, and the right one is tried too: a site that refuses everything would
prove nothing. Nothing is sent, and the kit is only read.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from nvflare.lighter.utils import verify_folder_signature

from training.engines.nvflare.extra import AGREED
from training.engines.nvflare.hardening import EXECUTOR, HOSPITAL_GRANTS, RIGHTS, ROLES
from training.engines.nvflare.kit import LOCAL, ROOT_CERTIFICATE, SIGNATURES_FILE, STARTUP, Kit, read_kit
from training.engines.nvflare.kit_check import KitCheck
from training.engines.nvflare.site_process import COMMANDS, restrict_commands
from training.engines.nvflare.sites import organisation, site_name
from training.engines.nvflare.trial_jobs import (
    make_signer,
    packed,
    right_app,
    with_custom_code,
    with_foreign_argument,
    with_foreign_component,
    with_foreign_executor,
    with_foreign_filter,
    with_other_format,
)
from training.engines.nvflare.trial_site import Answer, TrialSite

_PROVISION: Final = "Provision the kits again with `secagg charter provision`, and copy this one whole."
_UPGRADE: Final = f"Install the versions of secagg and NVFlare that the consortium has agreed on: {AGREED}."

_COMPONENTS: Final = {
    "GPUResourceManager",
    "GPUResourceConsumer",
    "ClientProcessJobLauncher",
}


def try_kit(kit: Kit) -> tuple[KitCheck, ...]:
    """Set the site up in this process, and try it."""
    restrict_commands()
    with tempfile.TemporaryDirectory() as temporary:
        site = TrialSite(kit, Path(temporary))
        return (
            *_signatures(kit),
            *_settings(site),
            _files(site, Path(temporary)),
            *_jobs(site),
        )


def _signatures(kit: Kit) -> Iterator[KitCheck]:
    root = str(kit.startup / ROOT_CERTIFICATE)
    for folder in (STARTUP, LOCAL):
        good = verify_folder_signature(str(kit.folder / folder), root, True, SIGNATURES_FILE)
        found = "signed by the kit's root" if good else "a file was changed, added or taken away"
        yield KitCheck(
            f"`{folder}` is as it was provisioned", good=good, found=found, remedy="" if good else _PROVISION
        )


def _settings(site: TrialSite) -> Iterator[KitCheck]:
    security = site.settings["client"].get("connection_security")
    yield _point("the connection is mutual TLS", security == "mtls", str(security))
    required = site.requires_signatures()
    yield _point("jobs must be signed", required, "required" if required else "not required")
    streams = site.streams_logs()
    yield _point("logs are not streamed", not streams, "allowed" if streams else "refused")
    components = {type(component).__name__ for component in site.components.values()}
    extra = sorted(components - _COMPONENTS)
    yield _point("NVFlare runs nothing beside jobs", not extra, ", ".join(extra) or "three components, all needed")
    classes, mode = site.buildable()
    yield _point(
        "jobs may build one class", (classes, mode) == ([EXECUTOR], "enforce"), f"{mode}: {', '.join(classes)}"
    )
    rights = {(role, right) for role in ROLES for right in RIGHTS if site.may(role, right)}
    listed = ", ".join(f"{role}: {right}" for role, right in sorted(rights))
    yield _point("only a lead may do anything: start and stop jobs", rights == HOSPITAL_GRANTS, listed or "none")
    commands = site.commands()
    more = ", ".join(sorted(commands - COMMANDS))
    yield _point("only commands about jobs are taken", not more, more or f"{len(commands)} commands", _UPGRADE)


def _files(site: TrialSite, place: Path) -> KitCheck:
    """Whether a file of the hospital's account can be read from outside."""
    secret = secrets.token_hex(16)
    (place / "record.txt").write_text(secret)
    answer = site.shows(place / "record.txt")
    shown = secret in answer.text
    return _point(
        "no file can be read from outside", not shown, "shown" if shown else f"refused: {answer.text}", _UPGRADE
    )


def _jobs(site: TrialSite) -> Iterator[KitCheck]:
    signer, stranger = make_signer(), make_signer()
    right = packed(right_app(), signer)
    yield _taken("a correct, signed job is accepted", site.takes(right, signer.root))
    yield _refused("a job that nobody has signed is refused", site.takes(packed(right_app(), None), signer.root))
    altered = packed(right_app(), signer, [("config/config_fed_client.json", "{}")])
    yield _refused("a job that was altered after signing is refused", site.takes(altered, signer.root))
    added = packed(right_app(), signer, [("config/more.json", "{}")])
    yield _refused("a job that has more than was signed is refused", site.takes(added, signer.root))
    yield _refused("a job of another authority's lead is refused", site.takes(packed(right_app(), stranger)))
    other = make_signer(site_name(2), organisation(2), "")
    signed_by_other = packed(right_app(), other)
    yield _refused("a job that another hospital has signed is refused", site.takes(signed_by_other, other.root))
    for point, app in (
        ("a job with code of its own is refused", with_custom_code()),
        ("a job with a configuration in another format is refused", with_other_format()),
        ("a job with another executor is refused", with_foreign_executor()),
        ("a job with another class as an argument is refused", with_foreign_argument()),
        ("a job with another component is refused", with_foreign_component()),
        ("a job with another filter is refused", with_foreign_filter()),
    ):
        yield _refused(point, site.takes(packed(app, signer), signer.root))
    for folder in (STARTUP, LOCAL):
        signer = make_signer()
        answer = site.loses(folder, packed(right_app(), signer), signer.root)
        yield _refused(f"a job that is numbered `{folder}` is refused", answer)


def _taken(point: str, answer: Answer) -> KitCheck:
    return _point(point, answer.accepted, answer.text, _UPGRADE)


def _refused(point: str, answer: Answer) -> KitCheck:
    return _point(point, not answer.accepted, answer.text)


def _point(point: str, good: bool, found: str, remedy: str = _PROVISION) -> KitCheck:
    return KitCheck(point, good=good, found=found, remedy="" if good else remedy)


def main(folder: str, result: str) -> None:
    """Try the kit in ``folder``; the checks go to ``result``, because NVFlare prints."""
    Path(result).write_bytes(msgspec.json.encode(try_kit(read_kit(Path(folder)))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
