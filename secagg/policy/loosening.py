"""Where one policy allows more than another: what needs signatures, and what a charter asks for beyond a policy.

Knows for each key which way is looser. What is no number orders as looser: it never passes for a stricter one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from secagg.identity import fingerprint
from secagg.policy.model import Countersigning, Policy
from secagg.printable import printable

_Looser = Callable[[Any, Any], bool]


class Loosening(msgspec.Struct, frozen=True):
    """One key that allows more than before."""

    key: str
    before: str
    after: str

    def told(self) -> str:
        """In words."""
        return f"{self.key} from {self.before} to {self.after}"


def loosenings(before: Policy, after: Policy) -> tuple[Loosening, ...]:
    """Every key in which ``after`` allows what ``before`` does not. Any change of the officers counts as one."""
    found = []
    for key, is_looser in LOOSER.items():
        old, new = getattr(before, key), getattr(after, key)
        if is_looser(old, new):
            found.append(Loosening(key, shown(old), shown(new)))
    return tuple(found)


def shown(value: object) -> str:
    """A value of a policy as people read it, whole: two that differ are not shown alike."""
    match value:
        case frozenset():
            return printable(", ".join(sorted(value))) or "nobody"
        case Countersigning():
            officers = ", ".join(sorted(map(fingerprint, value.officers)))
            return f"{value.signatures} of {len(value.officers)} officers ({officers})"
        case None:
            return "nobody's signature"
        case float():
            return repr(value).removesuffix(".0")
        case _:
            return str(value)


def _higher(before: float, after: float) -> bool:
    return not after <= before


def _lower(before: float, after: float) -> bool:
    return not after >= before


def _more(before: frozenset[str], after: frozenset[str]) -> bool:
    return not after <= before


def _allowed(before: str, after: str) -> bool:
    return before == "refuse" and after != "refuse"


def _other(before: object, after: object) -> bool:
    return before != after


LOOSER: Final[Mapping[str, _Looser]] = {
    "known_members": _more,
    "minimum_cohort": _lower,
    "minimum_honest": _lower,
    "allowed_schemes": _more,
    "allowed_privacy_modes": _more,
    "maximum_epsilon": _higher,
    "maximum_delta": _higher,
    "maximum_weight": _higher,
    "allowed_tasks": _more,
    "release_exact_metrics": _allowed,
    "countersigning": _other,
}
