"""What a kit says after NVFlare has provisioned it: only what a round needs, and nothing that the other side chooses.

NVFlare's own kits let whoever submits a job bring code, build seventy classes of NVFlare's, and read each site's error
log. These are settings for NVFlare; what no setting of it can stop is taken away in `site_process`, and
`hardening_check` tries all of it. Knows NVFlare's files, and nothing of keys or networks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any, Final

from secagg.charter.sections import MOST_MEMBERS

EXECUTOR: Final = "training.engines.nvflare.executor.HospitalExecutor"
CONTROLLER: Final = "training.engines.nvflare.controller.SumController"

# Where the server keeps its jobs. NVFlare's default is one folder under /tmp for the whole machine.
STORE_VARIABLE: Final = "SECAGG_NVFLARE_STORE"

RESOURCES: Final = "resources.json"
AUTHORIZATION: Final = "authorization.json"
LOGGING: Final = "log_config.json"

# What NVFlare knows of. `shell_commands` are `cat` and `grep` on a site's files; `byoc` is code that comes with a job.
ROLES: Final = ("project_admin", "org_admin", "lead", "member")
RIGHTS: Final = (
    "submit_job",
    "clone_job",
    "manage_job",
    "download_job",
    "view",
    "operate",
    "shell_commands",
    "byoc",
    "server-predeployed-flwr",
)

# By which the coordinator starts a job that a site finds good, and ends it.
HOSPITAL_GRANTS: Final = frozenset({("lead", "submit_job"), ("lead", "manage_job")})
# The server's own user sees its jobs and stops it, too.
SERVER_GRANTS: Final = HOSPITAL_GRANTS | {("lead", "view"), ("lead", "operate")}

_PROCESS_LAUNCHERS: Final = {
    "client": "nvflare.app_common.job_launcher.client_process_launcher.ClientProcessJobLauncher",
    "server": "nvflare.app_common.job_launcher.server_process_launcher.ServerProcessJobLauncher",
}
_FILE_STORAGE: Final = "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"

# Sent with a kit by NVFlare, and of no use here. `start.sh` would start a site without what `site_process` takes away.
_UNUSED: Final = (
    "readme.txt",
    "startup/*.sh",
    "startup/*.ipynb",
    "startup/readme.txt",
    "local/*.sample",
    "local/*.default",
)


def harden_hospital(kit: Path) -> None:
    """Rewrite the settings of a hospital's kit."""
    _write(kit, RESOURCES, _hospital_resources())
    _write(kit, AUTHORIZATION, _authorization(HOSPITAL_GRANTS))
    _keep_logging(kit)
    _remove_unused(kit)


def harden_server(kit: Path) -> None:
    """Rewrite the settings of the server's kit. It protects the coordinator from its own users, and no hospital."""
    _write(kit, RESOURCES, _server_resources())
    _write(kit, AUTHORIZATION, _authorization(SERVER_GRANTS))
    _keep_logging(kit)
    _remove_unused(kit)


def harden_admin(kit: Path) -> None:
    """Leave of the kit of who submits jobs what a session needs."""
    defaults = kit / "local" / f"{RESOURCES}.default"
    defaults.rename(kit / "local" / RESOURCES)
    _remove_unused(kit)


def close_permissions(folder: Path) -> None:
    """Make ``folder`` and all in it this account's alone: 0700 and 0600."""
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _hospital_resources() -> dict[str, Any]:
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [EXECUTOR],
        "allow_log_streaming": False,
        "client": {"retry_timeout": 30},
        "components": [
            # Jobs ask for no GPU by NVFlare; a hospital's own settings say which device it trains on.
            _component(
                "resource_manager",
                "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager",
                num_of_gpus=0,
                mem_per_gpu_in_GiB=0,
                expiration_period=300,
            ),
            _component(
                "resource_consumer", "nvflare.app_common.resource_consumers.gpu_resource_consumer.GPUResourceConsumer"
            ),
            _component("process_launcher", _PROCESS_LAUNCHERS["client"]),
        ],
    }


def _server_resources() -> dict[str, Any]:
    storage = {"path": _FILE_STORAGE, "args": {"root_dir": f"{{${STORE_VARIABLE}}}/snapshots", "uri_root": "/"}}
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [CONTROLLER],
        "servers": [
            {
                "admin_storage": "transfer",
                # Who may connect is for certificates to say. The next charter may have more members, and one that has
                # left would take the place of another.
                "max_num_clients": MOST_MEMBERS,
                "heart_beat_timeout": 35,
                "download_job_url": "",
                "admin_timeout": 10.0,
            }
        ],
        "snapshot_persistor": {
            "path": "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor",
            "args": {"uri_root": "/", "storage": storage},
        },
        "components": [
            _component(
                "job_scheduler", "nvflare.app_common.job_schedulers.job_scheduler.DefaultJobScheduler", max_jobs=1
            ),
            _component(
                "job_manager",
                "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                uri_root=f"{{${STORE_VARIABLE}}}/jobs",
                job_store_id="job_store",
            ),
            _component("job_store", _FILE_STORAGE),
            _component("process_launcher", _PROCESS_LAUNCHERS["server"]),
        ],
    }


def _authorization(granted: Set[tuple[str, str]]) -> dict[str, Any]:
    # A right that is not named is refused too; named, it can be read.
    permissions = {role: {right: "any" if (role, right) in granted else "none" for right in RIGHTS} for role in ROLES}
    return {"format_version": "1.0", "permissions": permissions}


def _component(identifier: str, path: str, **args: Any) -> dict[str, Any]:
    return {"id": identifier, "path": path, "args": args}


def _write(kit: Path, name: str, content: dict[str, Any]) -> None:
    (kit / "local" / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _keep_logging(kit: Path) -> None:
    local = kit / "local"
    shutil.copyfile(local / f"{LOGGING}.default", local / LOGGING)


def _remove_unused(kit: Path) -> None:
    for pattern in _UNUSED:
        for path in kit.glob(pattern):
            path.unlink()
