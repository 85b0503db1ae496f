"""Whether the packages that will be imported are secagg's own, and not something else of the same name.

Knows that they lie beside this one. Imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from secagg.errors import InputError

# Where `cli` or `secagg` is something else, not even this is reached.
_NAMES: Final = ("dp", "training")


def require_own_packages(path: Sequence[str]) -> None:
    """Refuse to go on where a file or folder of somebody's would be imported in place of one of ours.

    Args:
        path: where Python looks, as ``sys.path``.

    Raises:
        InputError: ``shadowed-package``, naming it.
    """
    ours = Path(__file__).resolve().parent.parent
    for name in _NAMES:
        found = _found(name, path)
        if found is not None and found not in (ours / name / "__init__.py", ours / name):
            raise InputError(
                "shadowed-package",
                f"{found} has the name of secagg's own package {name}, and Python finds it first.",
                culprit=str(found),
                remedy="Rename it, or keep the code that a task names in another folder, and have that on PYTHONPATH.",
            )


def _found(name: str, path: Sequence[str]) -> Path | None:
    """None where ours is installed so that Python finds it by other means, and nothing else first."""
    spec = PathFinder.find_spec(name, path)
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]).resolve() if places else None
