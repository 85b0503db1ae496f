"""Makes the folder of a site from what its administrator was given: all of it, or none that is a site.

Knows which file goes where, and what can be found wrong before anything is started.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.cautions import Caution, cautions
from secagg.charter.folder import read_verified, write_charter, write_signatures
from secagg.errors import InputError, RefusedError
from secagg.files import PRIVATE, read_bounded, require_file, require_text, sync, write_atomically
from secagg.identity import Identity
from secagg.passphrase import read_passphrase
from secagg.policy import check_charter, load_policy, put_in_force, render_policy
from secagg.policy.needs import first_policy
from secagg.policy.toml import LARGEST_POLICY
from training.devices import resolve_device
from training.draft import task_of
from training.field.coordinator_site import CoordinatorSite
from training.field.hospital_site import HospitalSite
from training.field.settings import CoordinatorSettings, HospitalSettings, write_new_settings
from training.hospital_setup import require_trainable, split_patients
from training.new_folder import make_folder, require_new
from training.records import require_two_classes

_LARGEST_KEY = 64 * 1024
_CHECK_LABELS: Final = (
    "Check that the label is in the column that the task names, written as the task has it. Nobody else can see this, "
    "and training spends the budget all the same."
)


@dataclass(frozen=True)
class HospitalMaterial:
    """What a hospital's administrator has in hand.

    Attributes:
        kit: the start-up kit that this hospital was given.
        policy: what this site accepts; one that accepts just this charter is written if none is given.
        passphrase_file: whose first line opens the identity file now, also where the settings name another, or none.
    """

    charter: Path
    identity: Path
    kit: Path
    settings: HospitalSettings
    policy: Path | None = None
    passphrase_file: Path | None = None


def lay_out_hospital(
    path: Path,
    material: HospitalMaterial,
    check_kit: Callable[[Path, int], object],
    on_warning: Callable[[Caution], None] = lambda _: None,
) -> HospitalSite:
    """Make a hospital's folder.

    Args:
        check_kit: raises if a folder is not the kit of the member with this number.
        on_warning: told what everybody must know of the charter, and what is odd about the records.

    Raises:
        InputError: ``folder-not-empty``, ``folder-of-another``, ``unknown-member``, ``not-a-file``, ``unwritable``, or
            what is wrong with the files given.
        RefusedError: if the policy that was given does not allow the charter; if none was given, for a scheme under
            which all hospitals have one key.
    """
    _require_no_site(path)
    for place in filter(None, (material.settings.data, material.settings.passphrase_file)):
        require_text(place)
    for copied in filter(None, (material.identity, material.policy)):
        require_file(copied)
    charter = read_verified(material.charter)
    identity = Identity.load(material.identity, read_passphrase(material.passphrase_file))
    number = charter.charter.number_of_key(identity.public_key, material.identity)
    check_kit(material.kit, number)
    agreed = _agreed(charter.charter, material.policy)
    tell_of_charter(charter, on_warning)
    require_records(charter, Path(material.settings.data), on_warning)

    def fill(folder: Path) -> None:
        site = HospitalSite(folder)
        write_signed_charter(site.charter, charter)
        write_atomically(site.folder.identity, read_bounded(material.identity, _LARGEST_KEY), PRIVATE)
        write_atomically(site.folder.policy, agreed, PRIVATE)
        # Where the policy names officers, it holds from now on and not only once the site has run.
        put_in_force(site.folder.policy)
        write_new_settings(
            site.settings, material.settings, "What this hospital trains on. See docs/running-a-site.md."
        )
        copy_kit(material.kit, site.kit)

    _make(path, fill, HospitalSite(path).settings)
    return HospitalSite(path)


def lay_out_coordinator(
    path: Path,
    charter: Path,
    kit: Path,
    check_kit: Callable[[Path, int], object],
    on_warning: Callable[[Caution], None] = lambda _: None,
) -> CoordinatorSite:
    """Make a coordinator's folder.

    Args:
        kit: with the kits of the server and of who begins jobs in ``server`` and ``admin``.
        check_kit: raises if a folder holds no such kits for so many members.
        on_warning: told what everybody must know of the charter.

    Raises:
        InputError: ``folder-not-empty``, ``folder-of-another``, ``unwritable``, or what is wrong with the files given.
    """
    verified = read_verified(charter)
    check_kit(kit, len(verified.charter.members))
    tell_of_charter(verified, on_warning)

    def fill(folder: Path) -> None:
        site = CoordinatorSite(folder)
        write_signed_charter(site.charter, verified)
        write_new_settings(
            site.settings, CoordinatorSettings(), "How long it waits, in seconds. See docs/running-a-site.md."
        )
        copy_kit(kit, site.kit)

    _make(path, fill, CoordinatorSite(path).settings)
    return CoordinatorSite(path)


def _agreed(charter: Charter, given: Path | None) -> bytes:
    """The policy that a new site has, as its file: the one that was given, or one for this charter."""
    if given:
        check_charter(charter, load_policy(given))
        return read_bounded(given, LARGEST_POLICY)
    policy = first_policy(charter)
    try:
        check_charter(charter, policy)
    except RefusedError as error:
        remedy = f"{error.remedy} No policy was given: give the one that allows it, with --policy."
        raise error.with_remedy(remedy) from error
    return render_policy(policy)


def tell_of_charter(charter: VerifiedCharter, on_warning: Callable[[Caution], None]) -> None:
    """Tell what everybody must know of a charter before a site takes part under it."""
    for caution in cautions(charter.charter):
        on_warning(caution)


def _require_no_site(path: Path) -> None:
    if HospitalSite(path).settings.exists():
        raise InputError(
            "folder-not-empty",
            f"{path} is a hospital's site already.",
            culprit=str(path),
            remedy=f"For its next charter: secagg hospital renew {path} --charter CHARTER. Another folder would have a "
            "ledger of its own, which knows nothing of what these patients have spent.",
        )


def require_records(charter: VerifiedCharter, data: Path, on_warning: Callable[[Caution], None]) -> None:
    """Refuse records that a hospital cannot take part with.

    Args:
        on_warning: told where many rows are left out, or all have one label. That is not refused: nobody else is to
            learn of it.

    Raises:
        InputError: if they cannot be read, or do not fit the charter's task.
    """
    task = task_of(charter.charter)
    records = task.read(data)
    for caution in records.cautions:
        on_warning(caution)
    train, validation = split_patients(records, task)
    require_trainable(charter.charter, task, train, validation, resolve_device("cpu"))
    try:
        require_two_classes(records)
    except InputError as error:
        on_warning(Caution(error.reason, error.message, _CHECK_LABELS))


def _make(path: Path, fill: Callable[[Path], None], settings: Path) -> None:
    require_new(
        path,
        "Choose another folder; a site that exists already needs no init. What an init left that was cut off (charter, "
        "kit, identity.pem and policy.toml at most, no settings) may be removed.",
    )
    make_folder(path, fill, settings.name, 0o700)


def write_signed_charter(folder: Path, charter: VerifiedCharter) -> None:
    """Write a charter with its signatures.

    Raises:
        InputError: ``unwritable``.
    """
    write_charter(folder, charter.charter)
    write_signatures(folder, charter.signatures)


def copy_kit(source: Path, target: Path) -> None:
    """Copy a start-up kit, for nobody but this account to read, durably: the one that was given may be deleted then.

    Raises:
        InputError: ``kit-not-copied``.
    """
    try:
        shutil.copytree(source, target)
    except shutil.Error as error:
        # One for each file that could not be.
        path, _, reason = error.args[0][0]
        raise InputError(
            "kit-not-copied",
            f"The kit in {source} cannot be copied: {reason}.",
            culprit=str(path),
            remedy="See that this account can read all that is in it, and that there is room for a copy.",
        ) from error
    for entry in (target, *target.rglob("*")):
        entry.chmod(0o700 if entry.is_dir() else PRIVATE)
        sync(entry)
