"""Whether a release states the sums, contributors and rounds that a transcript shows.

Knows both. The statement is signed by all contributors; that a round gave no sum, and where a transcript ends, is the
coordinator's own word. So where the transcript only shows less, it is the transcript that is in doubt.
"""

from __future__ import annotations

from collections import Counter

from secagg.masking import Purpose
from secagg.release import Release
from training.reporting.findings import Finding
from training.reporting.rounds import TranscriptFacts


def misstated(release: Release, transcript: TranscriptFacts) -> list[Finding]:
    """What a release states otherwise than the transcript shows it, or what the transcript lacks of it."""
    return [*_other_sums(release, transcript), *_fewer_rounds(release, transcript)]


def _other_sums(release: Release, transcript: TranscriptFacts) -> list[Finding]:
    """Statistics are no part of a release: it counts the sums that were applied to the model."""
    # A sum that reached nobody, as a coordinator was cut off, was made again: the last of a step is what was applied.
    applied = {
        found.step: found for found in transcript.rounds if found.purpose is Purpose.TRAINING and found.took_part
    }
    shown = Counter(name for found in applied.values() for name in found.took_part)
    stated = {contributor.name: contributor.sums for contributor in release.contributors}
    if (release.sums, stated) == (len(applied), dict(shown)):
        return []
    lacks_some = len(applied) <= release.sums and shown <= Counter(stated)
    lacking = [release.sums - len(applied), *(Counter(stated) - shown).values()]
    if transcript.broken_off and lacks_some and max(lacking) <= transcript.unread_rounds:
        # The rest may be what it lacks.
        return []
    return [
        Finding(
            "contributors-differ",
            f"The release states {release.sums} sums of {len(stated)} contributors; the transcript shows "
            f"{len(applied)} of {len(shown)}.",
            "the transcript" if lacks_some else "the release",
            "Ask the coordinator for the whole transcript, and compare it with the hospitals' own logs.",
        )
    ]


def _fewer_rounds(release: Release, transcript: TranscriptFacts) -> list[Finding]:
    """What is stated covers the hospital that was in the most rounds."""
    training = (found for found in transcript.rounds if found.purpose is Purpose.TRAINING)
    most = max(Counter(name for found in training for name in found.took_part).values(), default=0)
    if release.rounds >= most:
        return []
    return [
        Finding(
            "understated-rounds",
            f"The release states {release.rounds} rounds; by the transcript a hospital was in {most}.",
            "the release",
            "Do not rely on what it states.",
        )
    ]
