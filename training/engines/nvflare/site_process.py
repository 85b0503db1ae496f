"""A hospital's NVFlare process, without the commands that no round needs. Started as ``python -m`` by `process`.

NVFlare's site asks its own policy about a command only if the message says so, and the message is the server's: one
that leaves the header out has ``cat`` and ``grep`` of any file that the hospital's account can read. No setting changes
that. So the commands are taken away before NVFlare starts; what stays starts a job, ends it, or tells of its end.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from training.engines.nvflare.tether import end_with_starter

NEEDED_COMMANDS: Final = frozenset(
    {
        "DeployProcessor",
        "CheckResourceProcessor",
        "CancelResourceProcessor",
        "StartJobProcessor",
        "AbortAppProcessor",
        "AbortTaskProcessor",
        "NotifyJobStatusProcessor",
    }
)


def keep_needed_commands() -> None:
    """Take every other command from this process's NVFlare.

    Raises:
        RuntimeError: if NVFlare lacks one of them: it is another NVFlare than the one that this was written for.
    """
    from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

    known = ClientRequestProcessors.request_processors
    kept = [processor for processor in known if type(processor).__name__ in NEEDED_COMMANDS]
    if {type(processor).__name__ for processor in kept} != NEEDED_COMMANDS:
        raise RuntimeError("this version of NVFlare has other commands than those that a hospital takes")
    ClientRequestProcessors.request_processors = kept


def main() -> int:
    """Run NVFlare's site with the arguments of the command line; its exit code."""
    end_with_starter(os.environ)
    from nvflare.fuel.f3.mpm import MainProcessMonitor
    from nvflare.private.fed.app.client import client_train
    from nvflare.private.fed.app.utils import version_check

    keep_needed_commands()
    version_check()
    arguments = client_train.parse_arguments()
    code = MainProcessMonitor.run(main_func=client_train.main, run_dir=arguments.workspace, args=arguments)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
