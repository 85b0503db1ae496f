"""Start-up kits for a charter's members and its coordinator: NVFlare's provisioning, then hardened and signed.

An act of the consortium, on a member's machine. The authority's key stays there; the coordinator gets the kits of the
server and of who submits jobs, and with them can make no certificate. NVFlare is asked for one port, for it all.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from secagg.charter import VerifiedCharter
from secagg.charter.cautions import Caution
from secagg.errors import InputError, SecaggError
from secagg.files import PRIVATE, lock, unwritable, write_atomically
from training.engines.nvflare.authority import Authority, holds_authority, load_authority, save_authority
from training.engines.nvflare.extra import require_nvflare
from training.engines.nvflare.hardening import close_permissions, harden_admin, harden_hospital, harden_server
from training.engines.nvflare.kit import LOCAL, SIGNATURES_FILE, STARTUP, Kit, read_kit
from training.engines.nvflare.sites import (
    ADMIN,
    COORDINATOR_ORGANISATION,
    LEAD,
    PROJECT,
    SITE_PREFIX,
    organisation,
    site_name,
)

DEFAULT_PORT: Final = 8002
PROJECT_FILE: Final = "project.yml"
STATE: Final = "state"
KITS: Final = "kits"
COORDINATOR_KITS: Final = Path("coordinator")

# Where kits are made, in folders that nobody else can read. What follows is what mkdtemp draws.
_WORKING: Final = ".provisioning"
_WORKING_FOLDER: Final = re.compile(re.escape(_WORKING) + "-[a-z0-9_]{8}")

# As long as a consortium may last; the certificates that it signs are NVFlare's usual 360 days.
_ROOT_DAYS: Final = 3650
_HOST: Final = re.compile(
    r"(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


@dataclass(frozen=True)
class Address:
    """Where hospitals reach the coordinator's server: a host name or an IPv4 address, and the port."""

    host: str
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        # A server called as a site is would be taken for it.
        if _HOST.fullmatch(self.host) is None or self.host.lower().startswith(SITE_PREFIX):
            raise InputError(
                "bad-host",
                f"{self.host!r} is not the name of a host, or one that only a hospital's site may have.",
                culprit=self.host,
                remedy="Give the name, at most 64 characters, by which hospitals reach the coordinator's server.",
            )


@dataclass(frozen=True)
class MadeKit:
    """One kit, and who is to have it: a member's name, or ``coordinator``."""

    recipient: str
    kit: Kit


def provision(
    verified: VerifiedCharter,
    address: Address,
    out: Path,
    passphrase: bytes | None = None,
    on_warning: Callable[[Caution], None] = lambda _: None,
) -> tuple[MadeKit, ...]:
    """Make a kit for every member, and the coordinator's two, below ``out / "kits"``.

    The first time makes an authority in ``out / "state"``, its key encrypted if there is a passphrase; afterwards the
    kits come from the authority that is there, with new keys: that is how certificates are renewed. Cut off, it can be
    repeated.

    Args:
        on_warning: told of what one that was killed has left, and that it was removed.

    Raises:
        InputError: ``extra-missing``; ``exists`` if there are kits already; ``wrong-passphrase``, ``bad-authority``;
            ``state-in-use`` if another process makes kits there; ``unwritable``.
        SecaggError: ``provisioning-failed``, with what NVFlare said.
    """
    require_nvflare()
    kits, state = out / KITS, out / STATE
    _require_no_kits(kits)
    members = [member.name for member in verified.charter.members]
    project = _project(len(members), address)
    with contextlib.ExitStack() as held:
        held.callback(os.close, lock(out / _WORKING))
        # Another process may have made them since.
        _require_no_kits(kits)
        existing = load_authority(state, passphrase) if holds_authority(state) else None
        _remove_left(out, on_warning)
        temporary = held.enter_context(tempfile.TemporaryDirectory(prefix=f"{_WORKING}-", dir=out))
        made, authority = _run_nvflare(project, Path(temporary), existing)
        if existing is None:
            save_authority(authority, state, passphrase)
        arranged = _arrange(made, Path(temporary) / KITS, address, len(members))
        for kit in arranged:
            _sign(kit, authority)
        close_permissions(Path(temporary) / KITS)
        write_atomically(out / PROJECT_FILE, msgspec.yaml.encode(project), PRIVATE)
        (Path(temporary) / KITS).rename(kits)
    recipients = [*members, "coordinator", "coordinator"]
    folders = [kit.relative_to(Path(temporary) / KITS) for kit in arranged]
    return tuple(MadeKit(who, read_kit(kits / folder)) for who, folder in zip(recipients, folders, strict=True))


def _require_no_kits(kits: Path) -> None:
    if kits.exists():
        raise InputError(
            "exists",
            f"{kits} exists already and is left as it is.",
            culprit=str(kits),
            remedy="Move it away to have new kits from the same authority, or choose another folder.",
        )


def _remove_left(out: Path, on_warning: Callable[[Caution], None]) -> None:
    """Remove the folders in which kits were being made by processes that were killed. For who has the lock."""
    for path in sorted(out.iterdir()):
        if _WORKING_FOLDER.fullmatch(path.name) is None or path.is_symlink() or not path.is_dir():
            continue
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise unwritable(path, error) from error
        on_warning(
            Caution(
                "provisioning-left",
                f"Kits were being made in {path} when the process was killed. They were handed out to nobody, and the "
                "folder, with their private keys, is removed now.",
                f"If somebody else may have read it, move {out / STATE} and the new kits away, and provision again.",
            )
        )


def _project(hospitals: int, address: Address) -> dict[str, Any]:
    """What NVFlare reads from a ``project.yml``."""
    server = {
        "name": address.host,
        "type": "server",
        "org": COORDINATOR_ORGANISATION,
        "fed_learn_port": address.port,
        "admin_port": address.port,
    }
    admin = {"name": ADMIN, "type": "admin", "org": COORDINATOR_ORGANISATION, "role": LEAD}
    clients = [
        {"name": site_name(number), "type": "client", "org": organisation(number)} for number in range(1, hospitals + 1)
    ]
    return {
        "api_version": 4,
        "name": PROJECT,
        "description": "secure aggregation",
        "connection_security": "mtls",
        "allow_log_streaming": False,
        "participants": [server, admin, *clients],
    }


def _run_nvflare(project: dict[str, Any], workspace: Path, existing: Authority | None) -> tuple[Path, Authority]:
    """Where NVFlare put the kits, and the authority that signed them. Nothing is read from or sent to the network."""
    from nvflare.lighter.constants import CtxKey
    from nvflare.lighter.impl.static_file import StaticFileBuilder
    from nvflare.lighter.impl.workspace import WorkspaceBuilder
    from nvflare.lighter.provision import prepare_project
    from nvflare.lighter.provisioner import Provisioner

    from training.engines.nvflare.certificates import ForgetfulCertBuilder

    # NVFlare adds to the dictionary that it is given.
    prepared = prepare_project(msgspec.yaml.decode(msgspec.yaml.encode(project)))
    if existing is not None:
        prepared.root_private_key = existing.key
        prepared.serialized_root_cert = existing.certificate_pem()
    builders = [
        WorkspaceBuilder(["master_template.yml"]),
        StaticFileBuilder(config_folder="config", scheme="grpc", require_signed_jobs=True),
        ForgetfulCertBuilder(root_valid_days=_ROOT_DAYS),
    ]
    # It prints tracebacks; what went wrong is in the context too.
    with contextlib.redirect_stderr(io.StringIO()):
        context = Provisioner(str(workspace), builders).provision(prepared, logger=logging.getLogger(__name__))
    if context.get(CtxKey.BUILD_ERROR):
        raise SecaggError(
            "provisioning-failed",
            f"NVFlare could not make the kits: {' '.join(context.get_errors())}",
            remedy="Nothing was kept. Check the host's name, and that the folder can be written to.",
        )
    made = Path(context.get_result_location())
    return made, Authority(context[CtxKey.ROOT_CERT], context[CtxKey.ROOT_PRI_KEY])


def _arrange(made: Path, kits: Path, address: Address, hospitals: int) -> list[Path]:
    """Move the kits to where they are handed out from, hardened: the members', the server's, the administrator's."""
    arranged = []
    for number in range(1, hospitals + 1):
        kit = _move(made / site_name(number), kits / site_name(number))
        harden_hospital(kit)
        arranged.append(kit)
    server = _move(made / address.host, kits / COORDINATOR_KITS / "server")
    harden_server(server)
    admin = _move(made / ADMIN, kits / COORDINATOR_KITS / "admin")
    harden_admin(admin)
    return [*arranged, server, admin]


def _move(source: Path, destination: Path) -> Path:
    destination.parent.mkdir(parents=True, exist_ok=True)
    return source.rename(destination)


def _sign(kit: Path, authority: Authority) -> None:
    """Sign a kit's files with the authority's key; NVFlare does not start a site whose ``startup`` is not as signed."""
    from nvflare.lighter.utils import sign_folders

    for folder in (STARTUP, LOCAL):
        sign_folders(str(kit / folder), authority.key, signature_file=SIGNATURES_FILE)
