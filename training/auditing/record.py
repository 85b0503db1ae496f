"""An audit of privacy as it is written down: what `secagg audit privacy --json` prints, and reports read.

Knows the document. How an audit is made is `training.auditing.audit`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from dp.stated import no_less, no_more
from secagg.charter import Charter
from secagg.errors import InputError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED
from training.auditing.claim import is_claim_of

if TYPE_CHECKING:
    # torch takes seconds to import, and reading needs none.
    from training.auditing.audit import Audit
    from training.testbed.build import Control

_LARGEST: Final = 16 * 1024 * 1024

_NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class BoundRecord(msgspec.Struct, frozen=True):
    """``epsilon``: what epsilon exceeds by the guesses."""

    canaries: int
    guesses: int
    right: int
    epsilon: _NotNegative


class BuildRecord(msgspec.Struct, frozen=True):
    """One build.

    Attributes:
        lacks: null for the real one.
        together: what all runs say as one.
        most: what they would say had every guess been right.
    """

    lacks: str | None
    claim: _NotNegative
    delta: float
    confidence: float
    within_claim: bool
    runs: Annotated[list[BoundRecord], msgspec.Meta(min_length=1)]
    together: BoundRecord
    most: _NotNegative

    @property
    def can_refute(self) -> bool:
        """Whether so many guesses could have spoken against the claim at all."""
        return self.most > self.claim

    @property
    def exceeds(self) -> bool:
        """Whether what was found is above what is claimed."""
        return self.together.epsilon > self.claim


class PrivacyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole audit.

    Attributes:
        passed: nothing speaks against the claim, and every control was caught.
        charter: hash of the charter whose terms were audited; None for terms that are not a charter's.
    """

    passed: bool
    mode: Literal["local", "distributed"]
    audit: BuildRecord
    controls: dict[str, BuildRecord]
    charter: str | None = None

    @property
    def speaks_against(self) -> bool:
        """Whether the claim is refuted or a control was not caught: by the figures too, whatever is said of them."""
        caught = all(control.exceeds for control in self.controls.values())
        return not self.passed or self.audit.exceeds or not caught

    def is_of(self, charter: str, mode: str, delta: float | None) -> bool:
        """Whether it was made on the terms of the charter that has this hash, and says so of the same promise."""
        return (self.charter, self.mode, self.audit.delta) == (charter, mode, delta)

    def claims_as(self, charter: Charter) -> bool:
        """Whether what it tests is what that charter promises of its whole run, and not another figure."""
        canaries, *others = {run.canaries for run in self.audit.runs}
        return not others and is_claim_of(charter, self.audit.claim, canaries)


def _build_record(found: Audit, lacks: str | None) -> BuildRecord:
    """What is written of one build."""
    bounds = [
        BoundRecord(bound.guesses.canaries, bound.guesses.made, bound.guesses.right, bound.epsilon)
        for bound in (*found.runs, found.together)
    ]
    return BuildRecord(
        lacks, found.claim, found.delta, found.confidence, found.within_claim, bounds[:-1], bounds[-1], found.most
    )


def privacy_record(
    found: Audit, caught: Mapping[str, Audit], weakened: Mapping[str, Control], charter: Charter | None
) -> PrivacyRecord:
    """What is written of an audit.

    Args:
        caught: what came of the weakened builds, by the names that they have in ``weakened``.
        charter: whose terms were audited; None for terms that are not a charter's.
    """
    controls = {name: _build_record(control, weakened[name].without) for name, control in caught.items()}
    passed = found.within_claim and not any(control.within_claim for control in caught.values())
    return PrivacyRecord(
        passed, found.mode, _build_record(found, None), controls, charter.digest().hex() if charter else None
    )


def cannot_refute(build: BuildRecord) -> str:
    """Why an audit of so few guesses is none."""
    return (
        f"with every guess right it would show an epsilon of at least {no_more(build.most, 2)}, and "
        f"{no_less(build.claim, 2)} is claimed"
    )


def read_record(path: Path) -> PrivacyRecord:
    """What somebody has kept of an audit.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, ``not-an-audit``.
    """
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST), type=PrivacyRecord)
    except MALFORMED as error:
        raise InputError(
            "not-an-audit",
            f"{path} is not a privacy audit: {error}.",
            culprit=str(path),
            remedy="Make one with `secagg audit privacy --json > audit.json`.",
        ) from error
