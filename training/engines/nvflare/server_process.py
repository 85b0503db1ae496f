"""The coordinator's NVFlare process: NVFlare's server, which ends when the site that started it does."""

from __future__ import annotations

import os
import sys

from secagg.errors import SecaggError
from training.engines.nvflare.tether import end_with_starter


def main() -> int:
    """Run NVFlare's server with the arguments of the command line; its exit code."""
    end_with_starter(os.environ)
    from nvflare.fuel.f3.mpm import MainProcessMonitor
    from nvflare.private.fed.app.server import server_train
    from nvflare.private.fed.app.utils import version_check

    from training.engines.nvflare.server_rules import go_on_without_who_failed

    go_on_without_who_failed()
    version_check()
    arguments = server_train.parse_arguments()
    code = MainProcessMonitor.run(main_func=server_train.main, run_dir=arguments.workspace, args=arguments)
    return int(code or 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SecaggError as error:
        print(error.diagnostics(), file=sys.stderr)
        sys.exit(error.exit_code)
