"""What a call is refused with, for tests to look at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secagg.errors import RemoteProtocolError, SecaggError
from secagg.masking.verification import ForgedSumError


def error_of(call: Callable[..., object], *arguments: object, **named: object) -> SecaggError:
    """The typed error that the call raises."""
    with pytest.raises(SecaggError) as caught:
        call(*arguments, **named)
    return caught.value


def reason_of(call: Callable[..., object], *arguments: object) -> str:
    """Why the call refuses what another party sent: the reason of a RemoteProtocolError."""
    error = error_of(call, *arguments)
    assert isinstance(error, RemoteProtocolError)
    return error.reason


def taken(receive: Callable[..., object], *arguments: object) -> bool:
    """Whether what another party sent is taken; False where it is blamed for it."""
    try:
        receive(*arguments)
    except (RemoteProtocolError, ForgedSumError):
        return False
    return True
