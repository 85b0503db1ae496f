"""What an attack is, and what can come of one.

Knows names, reason codes and outcomes. Knows no protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from secagg.errors import LocalProtocolError, SecaggError
from training.testbed.build import Build

Result = TypeVar("Result")


class Liar(StrEnum):
    """Who does not follow the protocol."""

    COORDINATOR = "coordinator"
    HOSPITAL = "hospital"
    BOTH = "coordinator and hospital"
    AUTHOR = "author of a charter"
    INPUT = "records or task"


class Refuser(StrEnum):
    """Who says no."""

    HOSPITAL = "hospital"
    COORDINATOR = "coordinator"
    CHARTER = "charter"
    POLICY = "policy"
    ENCODER = "encoder"
    BOTH = "both"
    SITE = "charter, policy"
    AUDIT = "audit"


@dataclass(frozen=True)
class Refused:
    """The attacker learned nothing, and was told why not: every reason code it met."""

    by: Refuser
    reasons: frozenset[str]

    @classmethod
    def with_reasons(cls, by: Refuser, *reasons: str) -> Refused:
        """The same, written shorter."""
        return cls(by, frozenset(reasons))


@dataclass(frozen=True)
class Succeeded:
    """The attacker holds, or has done, what it must not; ``learned`` says what, counted from what it really has."""

    learned: str


Outcome = Refused | Succeeded


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: in kebab-case; `docs/threat-model.md` names it where it makes the claim that the attack tests.
        does: in one sentence, what the attacker does and hopes for.
        claim: the heading in the threat model.
        refused: by whom, and with exactly which reason codes.
        run: tries it on a build, in an empty folder.
        source: where the attack was described, if it was.
        quick: whether it is run without ``--all``.
    """

    name: str
    liar: Liar
    does: str
    claim: str
    refused: Refused
    run: Callable[[Build, Path], Outcome]
    source: str = ""
    quick: bool = False


@dataclass
class Tries:
    """Keeps the reason code of everything that ``by`` refused."""

    by: Refuser
    reasons: set[str] = field(default_factory=set)

    def __call__(self, call: Callable[..., Result], *arguments: object, **named: object) -> Result | None:
        """The result of one try; None if it was refused. A fault of the attack's own script is no refusal."""
        try:
            return call(*arguments, **named)
        except LocalProtocolError:
            raise
        except SecaggError as error:
            self.reasons.add(error.reason)
            return None

    def outcome(self, learned: str | None) -> Outcome:
        """What came of all tries: what the attacker holds now, or else why it holds nothing."""
        return Succeeded(learned) if learned else Refused(self.by, frozenset(self.reasons))


def recovered(
    guess: npt.NDArray[np.int64] | None, truth: npt.NDArray[np.int64], what: str, slack: int = 0
) -> str | None:
    """How much of ``truth`` the attacker's ``guess`` got right; None if nothing.

    Args:
        slack: how far a number may be off and still count as read.
    """
    if guess is None:
        return None
    right = int((np.abs(guess - truth) <= slack).sum())
    return f"{right} of {len(truth)} numbers of {what}" if right else None
