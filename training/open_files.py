"""How many files this process may have open: a simulation has those of all its hospitals."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_MOST: Final = 16_384


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process have as many files open as it may allow itself, 16,384 at most; afterwards as many as before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(_MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        _allow((wanted, hard))
    try:
        yield
    finally:
        _allow(before)


def _allow(limits: tuple[int, int]) -> None:
    # Where the system does not let it, there is what there was.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
