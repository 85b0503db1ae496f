"""Whether NVFlare is installed, and the right one: it is an extra, and slow to import before it is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Final

from secagg.errors import InputError, SecaggError

AGREED: Final = "`pip install -c constraints.txt './WHEEL[nvflare]'`, where WHEEL is the file that all sites have"


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
            remedy="Add the extra `nvflare` to this installation: in the checkout, `pip install '.[nvflare]'`; where "
            f"the consortium has agreed on versions, {AGREED}.",
        )


def other_nvflare(missing: Iterable[str]) -> SecaggError:
    """Why this NVFlare cannot be used: what of it is changed before it starts is not there."""
    return SecaggError(
        "other-nvflare",
        f"This version of NVFlare does not know {', '.join(sorted(missing))}.",
        culprit="nvflare",
        remedy=f"Install the version that the consortium has agreed on: {AGREED}.",
    )
