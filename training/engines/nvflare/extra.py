"""Whether NVFlare is installed: it is an extra, and slow to import, so nobody imports it before it is needed."""

from __future__ import annotations

import importlib.util

from secagg.errors import InputError


def require_nvflare() -> None:
    """Make sure that NVFlare can be imported, without importing it.

    Raises:
        InputError: ``extra-missing``.
    """
    if importlib.util.find_spec("nvflare") is None:
        raise InputError(
            "extra-missing",
            "NVFlare, which connects hospitals in different buildings, is not installed.",
            culprit="nvflare",
            remedy="Run `pip install 'secagg[nvflare]'`.",
        )
