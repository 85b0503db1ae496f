"""The coordinator's NVFlare process: NVFlare's server, which ends when the site that started it does.

NVFlare fails a job for everybody as soon as one site reports that its process of the job ended with an error. Nobody
else's sum should depend on it: here that hospital has dropped out, which the protocol bears. No setting changes that.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from training.engines.nvflare.tether import end_with_starter

if TYPE_CHECKING:
    from nvflare.fuel.f3.message import Message
    from nvflare.private.fed.server.fed_server import FederatedServer

_NO_FAILURE = 0


def go_on_without_who_failed() -> None:
    """Have this process's NVFlare end no job because one hospital's process of it has ended.

    A report is still checked and counted as NVFlare does. That the hospital is gone, the job hears after its site's
    next heartbeat (`CLIENT_DISCONNECTED`).
    """
    from nvflare.private.defs import JobFailureMsgKey
    from nvflare.private.fed.server.fed_server import FederatedServer

    take_report = FederatedServer.process_job_failure

    def take_as_drop_out(server: FederatedServer, request: Message) -> Message:
        if isinstance(request.payload, dict):
            request.payload = request.payload | {JobFailureMsgKey.CODE: _NO_FAILURE}
        return take_report(server, request)

    FederatedServer.process_job_failure = take_as_drop_out


def main() -> int:
    """Run NVFlare's server with the arguments of the command line; its exit code."""
    end_with_starter(os.environ)
    from nvflare.fuel.f3.mpm import MainProcessMonitor
    from nvflare.private.fed.app.server import server_train
    from nvflare.private.fed.app.utils import version_check

    go_on_without_who_failed()
    version_check()
    arguments = server_train.parse_arguments()
    code = MainProcessMonitor.run(main_func=server_train.main, run_dir=arguments.workspace, args=arguments)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
