"""The command that brings a job to a hospital, of a lead's jobs only.

NVFlare takes a job that any certificate of the consortium has signed: a hospital's, and the server's own, for which
signatures would prove nothing that the connection has not. Here it must be the lead's, whose key need not be where the
server is. And it is two files of JSON: NVFlare would take a configuration in HOCON too, which can include files and
addresses. It comes to a folder of its own, which is not the place of anything else (`job_folders`).
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Final

from nvflare.fuel.utils.zip_utils import ls_zip_from_bytes, unzip_all_from_bytes
from nvflare.lighter.tool_consts import NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE
from nvflare.lighter.utils import verify_folder_signature_and_get_signers
from nvflare.private.admin_defs import Message, error_reply
from nvflare.private.defs import RequestHeader
from nvflare.private.fed.client.training_cmds import DeployProcessor

from secagg.errors import RemoteProtocolError
from training.engines.nvflare.job_folders import job_refused, remove_ended, require_place
from training.engines.nvflare.kit import ROOT_CERTIFICATE, STARTUP
from training.engines.nvflare.sites import ADMIN, COORDINATOR_ORGANISATION, LEAD

_log = logging.getLogger(__name__)
_LEAD: Final = (ADMIN, COORDINATOR_ORGANISATION, LEAD)
_FILES: Final = frozenset({"config/config_fed_client.json", "config/config_fed_server.json"})
# Two small files and their signatures; a zip file may hold a thousand times its own size.
_MOST_ENTRIES: Final = 100
_LARGEST: Final = 1024 * 1024
_SIGNATURES: Final = frozenset({NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE})


class LeadDeployProcessor(DeployProcessor):  # type: ignore[misc]
    """NVFlare's command with three more conditions, before NVFlare's own."""

    def process(self, req: Message, app_ctx: Any) -> Message:
        """Deploy the job, if its folder takes nothing's place, and the lead alone has signed it, and only what a round
        needs."""
        kit, running = Path(app_ctx.args.workspace), app_ctx.get_all_job_ids()
        try:
            require_place(req.get_header(RequestHeader.JOB_ID), running)
            _require_lead_s(req.body, kit / STARTUP / ROOT_CERTIFICATE)
        except RemoteProtocolError as error:
            # The code alone: names of files and of who has signed are somebody else's words.
            _log.warning("a job was refused: %s", error.reason)
            return error_reply(error.message)
        remove_ended(kit, running)
        return super().process(req, app_ctx)


def _require_lead_s(job: object, root: Path) -> None:
    """Refuse a job that is not what a round needs, signed by the lead under the certificate ``root``.

    Raises:
        RemoteProtocolError: ``not-a-job``, ``job-not-signed``, ``not-the-lead``, ``job-too-much``.
    """
    if not _is_small(job):
        raise job_refused(
            "not-a-job", f"the job is not a zip file of at most {_MOST_ENTRIES} files and {_LARGEST} bytes"
        )
    with tempfile.TemporaryDirectory() as folder:
        unzip_all_from_bytes(job, folder)
        verified, signers = verify_folder_signature_and_get_signers(folder, str(root))
        files = {str(path.relative_to(folder)) for path in _content(Path(folder))}
    if not verified:
        raise job_refused("job-not-signed", "the job is not signed, or not by this consortium, or altered")
    if list(signers) != [_LEAD]:
        names = ", ".join(name for name, *_ in signers)
        raise job_refused("not-the-lead", f"the job is signed by {names}, who is not the lead")
    if not files <= _FILES:
        more = ", ".join(sorted(files - _FILES))
        raise job_refused("job-too-much", f"the job has files that no round needs: {more}")


def _is_small(job: object) -> bool:
    try:
        entries = ls_zip_from_bytes(job)
    except Exception:
        # Whatever zipfile makes of what is none.
        return False
    return len(entries) <= _MOST_ENTRIES and sum(entry.file_size for entry in entries) <= _LARGEST


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in _SIGNATURES]
