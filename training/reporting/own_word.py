"""What a hospital signed as wrong when it showed its records, as others are to read it.

Knows what is shown, and that it is the hospital's own word: one that lies can sign it too.
"""

from __future__ import annotations

from msgspec.structs import replace

from secagg.transcript.refusals import FORGED_SUM, may_be_lying
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding


def problems_of(site: SiteEvidence) -> list[Finding]:
    """What was wrong when a site read its records; what its own officer is told says not whose word it is."""
    if site.scope == "site":
        return [problem.printable for problem in site.problems]
    return [_of_another(site.member, problem.printable) for problem in site.problems]


def with_name(member: str, problem: Finding) -> Finding:
    """A problem, where nothing beside it says whose it is."""
    return problem if problem.reason == FORGED_SUM else replace(problem, message=f"{member} says: {problem.message}")


def _of_another(member: str, problem: Finding) -> Finding:
    if problem.reason != FORGED_SUM:
        return problem
    return Finding(
        FORGED_SUM,
        f"{member} signed, when it showed its records, that it was given a forged sum under the charter, kept it, and "
        f"stopped. {may_be_lying(member)}",
        None,
        f"Ask {member} for the sum that it kept, and compare it with the transcript and with other hospitals' logs.",
    )
