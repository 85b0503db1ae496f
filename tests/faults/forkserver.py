"""Where processes that are to die are forked from: there is one forkserver for all of them."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forkserver() -> ForkServerContext:
    """What starts a process that has imported everything already.

    The first process decides what the server imports, whichever test it is for.
    """
    context = multiprocessing.get_context("forkserver")
    # torch imports this for its first optimizer, which takes seconds.
    context.set_forkserver_preload(["tests.faults.driver", "tests.faults.full_disk", "torch._dynamo"])
    return context
