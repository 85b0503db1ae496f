"""Gives a hospital's site its next charter: its ledger, latch and egress log go on, so that what was spent counts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.charter.folder import read_verified
from secagg.errors import InputError
from secagg.files import PRIVATE, lock, read_bounded, require_file, sync, unwritable, write_atomically
from secagg.policy import Policy, check_charter, load_policy, put_in_force
from secagg.policy.acceptance import read_change, require_countersigned
from secagg.policy.toml import LARGEST_POLICY, read_policy
from training.field.hospital_site import HospitalSite, set_aside
from training.field.laying_out import copy_kit, require_records, tell_of_charter, write_signed_charter
from training.field.settings import HospitalSettings, read_settings
from training.hospital_logs import read_site_ledger
from training.run_lock import alone


@dataclass(frozen=True)
class NextCharter:
    """What a site is given for it.

    Attributes:
        charter: folder of the charter that every member has signed.
        kit: the start-up kit, where another was made.
        policy: what this site accepts from now on; what it has goes on if none is given.
        passphrase_file: whose first line opens the identity file, in place of the one that the settings name.
    """

    charter: Path
    kit: Path | None = None
    policy: Path | None = None
    passphrase_file: Path | None = None


def renew_hospital(
    site: HospitalSite,
    following: NextCharter,
    check_kit: Callable[[Path, int], object],
    on_warning: Callable[[Caution], None] = lambda _: None,
) -> int:
    """Let a site take part under another charter; how many entries its ledger has. Repeat it where it was cut off.

    What a renewal that was cut off has moved is put back; then everything is checked before anything is written. What
    is not given stays: key, settings, and all that the site remembers.

    Args:
        check_kit: raises if a folder is not the kit of the member with this number.
        on_warning: told what everybody must know of the charter, and what is odd about the records.

    Raises:
        InputError: ``no-site``, ``state-in-use``, ``unknown-member``, ``not-a-file``, ``unwritable``, or what is wrong
            with the files.
        RefusedError: ``policy-loosened``, or if the policy does not allow the charter.
        TamperingError: if its ledger was altered, rolled back or removed.
    """
    site.require_laid_out()
    with ExitStack() as held:
        held.enter_context(alone(site.path))
        # A job's process may still be at work when the site's own has ended.
        held.callback(os.close, lock(site.attending))
        # Before all is checked: one that was cut off may have left the site without what is checked.
        for folder in (site.kit, site.charter):
            _put_back(folder)
        charter, entries = _checked(site, following, check_kit, on_warning)
        if following.policy:
            write_atomically(site.folder.policy, read_bounded(following.policy, LARGEST_POLICY), PRIVATE)
            # At once: until then, whoever can write the file could put the old one back.
            put_in_force(site.folder.policy)
        if following.kit:
            kit = following.kit
            _replace(site.kit, lambda folder: copy_kit(kit, folder))
        _replace(site.charter, lambda folder: write_signed_charter(folder, charter))
    return entries


def _checked(
    site: HospitalSite,
    following: NextCharter,
    check_kit: Callable[[Path, int], object],
    on_warning: Callable[[Caution], None],
) -> tuple[VerifiedCharter, int]:
    charter, settings = read_verified(following.charter), read_settings(site.settings, HospitalSettings)
    identity = site.load_identity(following.passphrase_file)
    number = charter.charter.number_of_key(identity.public_key, site.folder.identity)
    check_kit(following.kit or site.kit, number)
    check_charter(charter.charter, _policy(site, following))
    tell_of_charter(charter, on_warning)
    require_records(charter, site.path / settings.data, on_warning)
    return charter, _entries(site, identity.public_key)


def _entries(site: HospitalSite, public_key: bytes) -> int:
    """How many its ledger has; a site that was never opened for a job has no ledger."""
    try:
        entries, _ = read_site_ledger(site.folder, public_key)
    except InputError as error:
        if error.reason != "no-ledger":
            raise
        return 0
    return len(entries)


def _policy(site: HospitalSite, following: NextCharter) -> Policy:
    """What the site accepts from now on, if its officers have signed whatever it loosens."""
    if not following.policy:
        return load_policy(site.folder.policy)
    require_file(following.policy)
    policy = read_policy(following.policy)
    require_countersigned(read_change(site.folder.policy, policy), site.folder.policy)
    return policy


def _replace(path: Path, fill: Callable[[Path], None]) -> None:
    """Put another folder in the place of one; cut off, `_put_back` goes back to the old one."""
    new, old = _beside(path)
    try:
        fill(new)
        path.rename(old)
        new.rename(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _put_back(path: Path) -> None:
    """Go back to the folder that `_replace` had moved away when it was cut off, and remove what it left."""
    new, old = _beside(path)
    try:
        if old.exists() and not path.exists():
            old.rename(path)
            sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where `_replace` has the new folder until it is whole, and the old one until the new one is in its place."""
    return path.with_name(f".{path.name}.new"), set_aside(path)
