"""Which start-up kit belongs to which site: found out before anything is started with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from secagg.errors import InputError
from training.engines.nvflare.kit import Kit, Role, read_kit
from training.engines.nvflare.sites import site_name

SERVER: Final = "server"
ADMIN: Final = "admin"


def require_hospital_kit(folder: Path, member: int) -> Kit:
    """The kit in ``folder``, if it is that of the member with this number.

    Raises:
        InputError: ``other-kit``, or why it is no kit.
        TamperingError: ``foreign-certificate``.
    """
    kit = read_kit(folder)
    name = site_name(member)
    if kit.role is not Role.HOSPITAL or kit.name != name:
        raise InputError(
            "other-kit",
            f"The start-up kit in {folder} is that of {kit.name}; this member of the charter is {name}.",
            culprit=str(folder),
            remedy="Take the kit that was made for this hospital.",
        )
    return kit


def require_coordinator_kits(folder: Path) -> tuple[Kit, Kit]:
    """The kits of the server and of who begins jobs.

    Raises:
        InputError: ``other-kit``, or why they are no kits.
        TamperingError: ``foreign-certificate``.
    """
    kits = read_kit(folder / SERVER), read_kit(folder / ADMIN)
    for kit, role in zip(kits, (Role.SERVER, Role.ADMIN), strict=True):
        if kit.role is not role:
            raise InputError(
                "other-kit",
                f"The start-up kit in {kit.folder} is not that of the coordinator's {role}.",
                culprit=str(kit.folder),
                remedy="Take the folder `coordinator` that `secagg charter provision` made, whole.",
            )
    return kits
