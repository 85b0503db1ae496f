"""The report as one immutable value: everything that an officer is told of a run, in the order in which it is asked."""

from __future__ import annotations

from typing import Literal

import msgspec

from training.auditing.record import PrivacyRecord
from training.reporting.budget import DataSetFacts
from training.reporting.egress import EgressFacts
from training.reporting.findings import Finding, Notice
from training.reporting.guarantee import Guarantee
from training.reporting.integrity import Check
from training.reporting.rounds import TranscriptFacts
from training.reporting.versions import Versions


class MemberFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hospital of the charter, and the fingerprint of its key."""

    name: str
    fingerprint: str


class CharterFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the hospitals agreed on, as far as a report speaks of it.

    Attributes:
        surely_summed: the fewest hospitals that any sum is over, which among neighbours may be below its threshold.
        noise_levels: the numbers of survivors from which on surplus noise is removed; none: all of it stays in the sum.
        budget: the epsilon that the run may cost each patient, by the charter.
    """

    name: str
    digest: str
    members: tuple[MemberFacts, ...]
    surely_summed: int
    max_colluding: int
    scheme: str
    task: str
    parameters: int
    rounds: int
    privacy: str
    noise_levels: tuple[int, ...]
    budget: float


class SiteFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hospital.

    Attributes:
        scope: ``site``: of all its records; ``charter``: of what it shows of this charter.
        egress: None where its log was tampered with.
    """

    name: str
    scope: Literal["site", "charter"]
    made: str
    data_sets: tuple[DataSetFacts, ...]
    egress: EgressFacts | None
    versions: Versions


class ReleaseFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that belongs to all.

    Attributes:
        contributors: in how many sums each is, by name; all of them have signed.
        checkpoints: of so many hospitals' logs; ``cosigned_by``: who has signed for these.
    """

    model_sha256: str
    model_digest: str
    sums: int
    rounds: int
    epsilon: float | None
    delta: float | None
    contributors: dict[str, int]
    checkpoints: int
    cosigned_by: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is told, in the order in which it is asked.

    Attributes:
        about: ``site``: one hospital's own copy; ``consortium``: what several choose to show.
        findings: what is wrong; nothing, where nothing was found.
        notices: what must be known though nothing is wrong.
    """

    format: Literal["secagg report 1"] = "secagg report 1"
    about: Literal["site", "consortium"]
    charter: CharterFacts
    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    sites: tuple[SiteFacts, ...]
    guarantee: Guarantee
    audit: PrivacyRecord | None
    transcript: TranscriptFacts | None
    release: ReleaseFacts | None
    checks: tuple[Check, ...]
    made: str
    versions: Versions

    @property
    def is_audited(self) -> bool:
        """Whether an audit was given that was made on this charter's terms."""
        promise = self.guarantee
        return self.audit is not None and self.audit.is_of(self.charter.digest, promise.mode, promise.delta)
