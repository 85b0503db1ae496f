"""Whether NVFlare is installed, and the right one: it is an extra, and slow to import before it is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from secagg.errors import InputError, SecaggError


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
            remedy="Add the extra `nvflare` to this installation: `pip install 'secagg[nvflare]'`, with "
            "`-c constraints.txt` where the consortium has agreed on versions.",
        )


def other_nvflare(missing: Iterable[str]) -> SecaggError:
    """Why this NVFlare cannot be used: what of it is changed before it starts is not there."""
    return SecaggError(
        "other-nvflare",
        f"This version of NVFlare does not know {', '.join(sorted(missing))}.",
        culprit="nvflare",
        remedy="Install the version that the consortium has agreed on: "
        "`pip install -c constraints.txt 'secagg[nvflare]'`.",
    )
