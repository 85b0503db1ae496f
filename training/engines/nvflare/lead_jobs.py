"""The command that brings a job to a hospital, of a lead's jobs only.

NVFlare takes a job that any certificate of the consortium has signed: a hospital's, and the server's own, for which
signatures would prove nothing that the connection has not. Here it must be the lead's, whose key need not be where the
server is. And it is two files of JSON: NVFlare would take a configuration in HOCON too, which can include files and
addresses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from nvflare.fuel.utils.zip_utils import ls_zip_from_bytes, unzip_all_from_bytes
from nvflare.lighter.tool_consts import NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE
from nvflare.lighter.utils import verify_folder_signature_and_get_signers
from nvflare.private.admin_defs import Message, error_reply
from nvflare.private.fed.client.training_cmds import DeployProcessor

from training.engines.nvflare.kit import ROOT_CERTIFICATE, STARTUP
from training.engines.nvflare.sites import ADMIN, COORDINATOR_ORGANISATION, LEAD

_LEAD: Final = (ADMIN, COORDINATOR_ORGANISATION, LEAD)
_FILES: Final = frozenset({"config/config_fed_client.json", "config/config_fed_server.json"})
# Two small files and their signatures; a zip file may hold a thousand times its own size.
_MOST_ENTRIES: Final = 100
_LARGEST: Final = 1024 * 1024
_SIGNATURES: Final = frozenset({NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE})


class LeadDeployProcessor(DeployProcessor):  # type: ignore[misc]
    """NVFlare's command with two more conditions, before NVFlare's own."""

    def process(self, req: Message, app_ctx: Any) -> Message:
        """Deploy the job, if the lead and nobody else has signed it, and it has no file but those of a round."""
        if not _is_small(req.body):
            return error_reply(f"the job is not a zip file of at most {_MOST_ENTRIES} files and {_LARGEST} bytes")
        root = f"{app_ctx.args.workspace}/{STARTUP}/{ROOT_CERTIFICATE}"
        with tempfile.TemporaryDirectory() as folder:
            unzip_all_from_bytes(req.body, folder)
            verified, signers = verify_folder_signature_and_get_signers(folder, root)
            files = {str(path.relative_to(folder)) for path in _content(Path(folder))}
        if not verified:
            return error_reply("the job is not signed, or not by this consortium, or altered")
        if list(signers) != [_LEAD]:
            return error_reply(f"the job is signed by {', '.join(name for name, *_ in signers)}, who is not the lead")
        if not files <= _FILES:
            return error_reply(f"the job has files that no round needs: {', '.join(sorted(files - _FILES))}")
        return super().process(req, app_ctx)


def _is_small(job: object) -> bool:
    try:
        entries = ls_zip_from_bytes(job)
    except Exception:
        # Whatever zipfile makes of what is none.
        return False
    return len(entries) <= _MOST_ENTRIES and sum(entry.file_size for entry in entries) <= _LARGEST


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in _SIGNATURES]
