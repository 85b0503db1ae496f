"""Where NVFlare unpacks jobs at a hospital: in the kit's folder, beside the key and the settings, one folder for each.

It is called by the job's number, which the server chooses and nobody signs. NVFlare removes what is there under that
name before it unpacks, and never removes the folder of a job that has ended. Knows names and folders, and nothing of
what is in a job.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from secagg.errors import RemoteProtocolError

KEPT: Final = 5
"""Of how many jobs that have ended the folders stay, the newest: NVFlare's logs of them are there."""
MOST_RUNNING: Final = 8
"""The coordinator begins one job at a time; processes of a few before it may take some seconds to end."""

# NVFlare's `new_job_id`: a UUID of version 4, in the one form that `str` gives it.
_NUMBER: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def require_place(number: object, running: Collection[str]) -> None:
    """Refuse a job whose folder could take the place of what is no job's, or of a job that runs, or one too many.

    The folder of a job that does not run may be there: a server that is killed before it has noted that it sent a job
    sends it again when it is back.

    Args:
        running: the numbers of the jobs that have a process now.

    Raises:
        RemoteProtocolError: ``job-number``, ``job-running``, ``too-many-jobs``.
    """
    if not isinstance(number, str) or _NUMBER.fullmatch(number) is None:
        raise job_refused("job-number", "the job's number is not a UUID, and could be the name of another folder")
    if number in running:
        raise job_refused("job-running", "a job with this number runs here")
    if len(running) >= MOST_RUNNING:
        raise job_refused("too-many-jobs", f"{MOST_RUNNING} jobs run here already")


def remove_ended(kit: Path, running: Collection[str]) -> None:
    """Remove the folders of jobs that have ended, but for the `KEPT` newest.

    Nothing is removed that is not called as a job is.
    """
    ended = [path for path in kit.iterdir() if _is_job(path) and path.name not in running]
    for folder in sorted(ended, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        # What cannot be removed is no reason to take no part in a round.
        shutil.rmtree(folder, ignore_errors=True)


def job_refused(reason: str, message: str) -> RemoteProtocolError:
    """Why a job is not taken; its message goes to the coordinator."""
    return RemoteProtocolError(
        reason,
        message,
        culprit="coordinator",
        remedy="Ask whoever runs the coordinator's server why it sent this; nothing was unpacked.",
    )


def _is_job(path: Path) -> bool:
    return _NUMBER.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()
