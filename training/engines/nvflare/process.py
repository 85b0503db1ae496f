"""How the long-running process of a kit is started: its command line and environment, and nothing of what it does."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from errno import EADDRINUSE
from pathlib import Path
from typing import Final

from secagg.errors import InputError
from training.engines.nvflare.connection import HEARD
from training.engines.nvflare.connection import VARIABLE as HEARD_VARIABLE
from training.engines.nvflare.hardening import STORE_VARIABLE
from training.engines.nvflare.kit import Kit, Role
from training.engines.nvflare.tether import VARIABLE

STORE: Final = "store"
SERVER_MODULE: Final = "training.engines.nvflare.server_process"
HOSPITAL_MODULE: Final = "training.engines.nvflare.site_process"
PORT_TAKEN: Final = EADDRINUSE
"""The exit code of a server whose port another process has."""

_OUTCOME_SECONDS: Final = "10"
_GRACE_SECONDS: Final = "2"
# NVFlare lets variables override what a kit says: its logging, its job store, any setting by its name.
_OVERRIDING: Final = ("NVFL_", "NVFLARE_")


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        command: with absolute paths; the process changes its working directory to the kit's folder by itself.
        environment: the whole of it.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]


def launch(kit: Kit) -> Launch:
    """How to start the process of a hospital's or the server's kit. NVFlare starts one further process for each job.

    NVFlare's own `start.sh` is not used, and not in the kits: at a hospital it would start the site without what
    `site_process` takes away.

    Raises:
        InputError: ``no-process`` for an administrator's kit, which is only used by sessions; ``unusable-path``.
    """
    require_startable(kit.folder)
    folder = str(kit.folder.resolve())
    options = [f"org={kit.organisation}", "secure_train=true", "config_folder=config"]
    match kit.role:
        case Role.HOSPITAL:
            module = HOSPITAL_MODULE
            options.append(f"uid={kit.name}")
        case Role.SERVER:
            module = SERVER_MODULE
        case Role.ADMIN:
            raise InputError(
                "no-process",
                f"The kit in {kit.folder} is for submitting jobs; there is no process to start.",
                culprit=str(kit.folder),
                remedy="Give the server's kit or a hospital's.",
            )
    python = (sys.executable, "-P", "-u", "-m", module)
    return Launch((*python, "-m", folder, "-s", kit.role.startup_file, "--set", *options), environment(kit))


def require_startable(folder: Path) -> None:
    """Refuse a folder, of a kit or of a site that has one in it, from which NVFlare could start no job.

    Raises:
        InputError: ``unusable-path``: of the folder, or of the Python that runs this.
    """
    for path in (folder.resolve(), Path(sys.executable)):
        _require_one_word(path)


def _require_one_word(path: Path) -> None:
    """Refuse what NVFlare would take apart: it makes the command of a job's process as one string, and splits that."""
    try:
        words = shlex.split(str(path), comments=True)
    except ValueError:
        words = []
    if words != [str(path)]:
        raise InputError(
            "unusable-path",
            f"NVFlare cannot start a job from {str(path)!r}: the path has a space, a quotation mark or the like in it.",
            culprit=str(path),
            remedy="Choose a path of letters, digits, and marks such as - and _.",
        )


def environment(kit: Kit) -> Mapping[str, str]:
    """The environment of a kit's process: this one's, without what would override the kit."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OVERRIDING)}
    # Else the folder in which jobs are unpacked would be where Python looks for modules first.
    kept["PYTHONSAFEPATH"] = "1"
    kept[VARIABLE] = str(os.getpid())
    if kit.role is Role.HOSPITAL:
        kept[HEARD_VARIABLE] = str(kit.folder.resolve() / HEARD)
    if kit.role is Role.SERVER:
        kept[STORE_VARIABLE] = str(kit.folder.resolve() / STORE)
        # A hospital that was cut off cannot say how its job ended, and no other job begins before.
        kept["NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT"] = _OUTCOME_SECONDS
        # Who did not say that its process has started takes no part; see `server_rules`.
        kept["NVFLARE_STRICT_START_JOB_REPLY_CHECK"] = "true"
        # A hospital's job that has ended is no more waited for; it cannot come back to the same job.
        kept["NVFLARE_DEAD_CLIENT_GRACE_PERIOD"] = _GRACE_SECONDS
    return kept
