"""What a hospital signed as wrong when it showed its records, as others are to read it.

Knows what is shown, and that it is the hospital's own word: one that lies can sign it too.
"""

from __future__ import annotations

from msgspec.structs import replace

from secagg.transcript.refusals import FORGED_SUM, may_be_lying
from training.reporting.evidence import SiteEvidence
from training.reporting.findings import Finding


def problems_of(site: SiteEvidence) -> list[Finding]:
    """What was wrong when a site read its records, for a report; its own officer is told as the site says it."""
    return [problem.printable for problem in site.problems] if site.scope == "site" else said_by(site)


def said_by(site: SiteEvidence) -> list[Finding]:
    """The same for others: it is told whose word it is, and nobody else is named, of whom a liar could say anything."""
    problems = [problem.printable for problem in site.problems]
    return [
        _forged(site.member)
        if problem.reason == FORGED_SUM
        else replace(problem, message=f"{site.member} says: {problem.message}", culprit=site.member)
        for problem in problems
    ]


def _forged(member: str) -> Finding:
    return Finding(
        FORGED_SUM,
        f"{member} signed, when it showed its records, that it was given a forged sum under the charter, kept it, and "
        f"stopped. {may_be_lying(member)}",
        None,
        f"Ask {member} for the sum that it kept, and compare it with the transcript and with other hospitals' logs.",
    )
