"""Which start-up kit belongs to which site: found out before anything is started with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from secagg.errors import InputError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED
from training.engines.nvflare.hardening import RESOURCES
from training.engines.nvflare.kit import Kit, Role, read_kit
from training.engines.nvflare.sites import site_name

SERVER: Final = "server"
ADMIN: Final = "admin"
_LARGEST: Final = 1024 * 1024
_WHOLE: Final = "Take the folder `coordinator` that `secagg charter provision` made, whole."


class _Limits(msgspec.Struct):
    max_num_clients: int


class _ServerResources(msgspec.Struct):
    servers: tuple[_Limits]


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


def require_coordinator_kits(folder: Path, members: int) -> tuple[Kit, Kit]:
    """The kits of the server and of who begins jobs, if they were made together and so many members can connect.

    Raises:
        InputError: ``other-kit``, ``malformed-kit``, or why they are no kits.
        TamperingError: ``foreign-certificate``.
    """
    server, admin = read_kit(folder / SERVER), read_kit(folder / ADMIN)
    for kit, role in ((server, Role.SERVER), (admin, Role.ADMIN)):
        if kit.role is not role:
            raise _other(kit.folder, f"The start-up kit in {kit.folder} is not that of the coordinator's {role}.")
    for what in ("authority", "host", "port"):
        if getattr(server, what) != getattr(admin, what):
            raise _other(
                folder,
                f"The start-up kits in {server.folder} and {admin.folder} do not belong together: the {what} is "
                f"{getattr(server, what)} in one and {getattr(admin, what)} in the other.",
            )
    _require_room(server, members)
    return server, admin


def _require_room(server: Kit, members: int) -> None:
    path = server.local / RESOURCES
    try:
        (limits,) = msgspec.json.decode(read_bounded(path, _LARGEST), type=_ServerResources).servers
    except MALFORMED as error:
        raise InputError(
            "malformed-kit",
            f"{path} is not a file as `secagg charter provision` writes it.",
            culprit=str(path),
            remedy=_WHOLE,
        ) from error
    if limits.max_num_clients < members:
        raise _other(
            server.folder,
            f"With the start-up kit in {server.folder} only {limits.max_num_clients} of the charter's {members} "
            "members can connect.",
            f"Have kits made for this charter. {_WHOLE}",
        )


def _other(folder: Path, message: str, remedy: str = _WHOLE) -> InputError:
    return InputError("other-kit", message, culprit=str(folder), remedy=remedy)
