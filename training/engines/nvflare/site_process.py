"""A hospital's NVFlare process, with the commands that a round needs and no other; `process` says how it is started.

NVFlare's site asks its own policy about a command only if the message says so, and the message is the server's: one
that leaves the header out has ``cat`` and ``grep`` of any file that the hospital's account can read. No setting changes
that. So the commands are taken away before NVFlare starts; what stays starts a job of the lead's (`lead_jobs`), ends
it, or tells of its end.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from training.engines.nvflare.connection import note_heartbeats
from training.engines.nvflare.extra import other_nvflare
from training.engines.nvflare.long_running import run

_DEPLOY: Final = "DeployProcessor"
COMMANDS: Final = frozenset(
    {
        "LeadDeployProcessor",
        "CheckResourceProcessor",
        "CancelResourceProcessor",
        "StartJobProcessor",
        "AbortAppProcessor",
        "AbortTaskProcessor",
        "NotifyJobStatusProcessor",
    }
)


def restrict_commands() -> None:
    """Take every command but `COMMANDS` from this process's NVFlare.

    Raises:
        SecaggError: ``other-nvflare`` if one is not there: this was written for another NVFlare.
    """
    from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

    from training.engines.nvflare.lead_jobs import LeadDeployProcessor

    known = {type(processor).__name__: processor for processor in ClientRequestProcessors.request_processors}
    known[LeadDeployProcessor.__name__] = LeadDeployProcessor()
    missing = {_DEPLOY, *COMMANDS} - known.keys()
    if missing:
        raise other_nvflare(missing)
    ClientRequestProcessors.request_processors = [known[name] for name in sorted(COMMANDS)]


def _change() -> None:
    restrict_commands()
    note_heartbeats(os.environ)


if __name__ == "__main__":
    sys.exit(run("nvflare.private.fed.app.client.client_train", _change))
