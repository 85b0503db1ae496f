"""With what software something was made. Knows names of packages."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec

_PACKAGES: Final = ("secagg", "numpy", "torch", "opacus", "dp-accounting", "cryptography", "tenseal")


class Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Python's release, and those of the packages that results rest on."""

    python: str
    packages: dict[str, str]


def versions() -> Versions:
    """Those that are installed here."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return Versions(platform.python_version(), found)
