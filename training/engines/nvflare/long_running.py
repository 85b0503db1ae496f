"""Runs a process of NVFlare's that ends with whoever started it, and is changed before NVFlare starts."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from secagg.errors import SecaggError
from training.engines.nvflare.tether import end_with_starter


def run(application: str, change: Callable[[], None]) -> int:
    """Run one of NVFlare's applications with the arguments of the command line; its exit code.

    Args:
        application: the module of NVFlare's that it is.
        change: what is to be otherwise than NVFlare has it, in this process.
    """
    end_with_starter(os.environ)
    from nvflare.fuel.f3.mpm import MainProcessMonitor
    from nvflare.private.fed.app.utils import version_check

    train = importlib.import_module(application)
    try:
        change()
    except SecaggError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    version_check()
    arguments = train.parse_arguments()
    code = MainProcessMonitor.run(main_func=train.main, run_dir=arguments.workspace, args=arguments)
    return int(code or 0)
