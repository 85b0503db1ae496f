"""Weakened builds, which do not ship: how they are loaded from a source checkout. They are code, and it is run.

Knows where they are. Knows nothing of what they lack.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from secagg.errors import InputError

WEAKENED: Final = "weakened"
_MODULE: Final = "weakened_builds"


def load_weakened(folder: Path) -> ModuleType:
    """The package of weakened builds.

    Args:
        folder: holds it.

    Raises:
        InputError: ``no-controls``.
    """
    file = folder / WEAKENED / "__init__.py"
    spec = importlib.util.spec_from_file_location(_MODULE, file, submodule_search_locations=[str(file.parent)])
    if not file.is_file() or spec is None or spec.loader is None:
        raise InputError(
            "no-controls",
            f"{folder} holds no weakened builds: there is no {file}.",
            culprit=str(folder),
            remedy="Weakened builds are not installed. Give the folder tests/attacks of a source checkout.",
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == _MODULE]:
        del sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return module
