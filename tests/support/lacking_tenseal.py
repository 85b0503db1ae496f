"""A machine on which TenSEAL cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What needs it, and is loaded where something is encrypted.
_WITH_TENSEAL = [
    "secagg.masking.group",
    *(
        f"secagg.homomorphic.{name}"
        for name in ("cipher", "context", "jobs", "plaintexts", "seal", "serialized", "services", "vectors")
    ),
]


@contextmanager
def without_tenseal() -> Iterator[None]:
    """Nothing that needs it has been loaded yet; afterwards all is as it was."""
    # Of nothing else: what is loaded meanwhile stays, since some of it cannot be loaded twice.
    loaded = {name: sys.modules.pop(name) for name in ("tenseal", *_WITH_TENSEAL) if name in sys.modules}
    sys.modules["tenseal"] = None
    try:
        yield
    finally:
        del sys.modules["tenseal"]
        sys.modules.update(loaded)
