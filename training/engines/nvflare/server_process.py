"""The coordinator's NVFlare process: NVFlare's server, which bears hospitals that fail (`server_rules`)."""

from __future__ import annotations

import sys

from training.engines.nvflare.long_running import run


def _change() -> None:
    # It loads NVFlare, and so only here: whoever starts this process may be gone by then.
    from training.engines.nvflare.server_rules import go_on_without_who_failed

    go_on_without_who_failed()


if __name__ == "__main__":
    sys.exit(run("nvflare.private.fed.app.server.server_train", _change))
