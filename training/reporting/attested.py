"""What hospitals signed at the end of a run, as it lies in a release's folder: its statement, and their checkpoints.

Knows that either may lack, and looks at no model: neither needs one. What was tampered with is kept as a problem, so
that the rest can be held against a transcript all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from secagg.charter import VerifiedCharter
from secagg.errors import InputError, TamperingError
from secagg.release import Release
from secagg.release.checkpoints import CHECKPOINTS_FILE, VerifiedCheckpoints, read_checkpoints
from secagg.release.folder import STATEMENT_FILE, read_release, verify_statement
from training.reporting.findings import Finding

Read = TypeVar("Read")


@dataclass(frozen=True)
class Attested:
    """What can be relied on; None where it lacks, or was tampered with.

    Attributes:
        lacking: the names of files that are not there.
    """

    release: Release | None
    checkpoints: VerifiedCheckpoints | None
    lacking: tuple[str, ...]
    problems: tuple[Finding, ...]


def read_attested(folder: Path, charter: VerifiedCharter) -> Attested:
    """Read and verify both.

    Raises:
        InputError: ``no-release``, if neither is there; ``unreadable``.
        TamperingError: ``other-charter``: nothing in the folder can be held against this run.
    """
    lacking = tuple(name for name in (STATEMENT_FILE, CHECKPOINTS_FILE) if not (folder / name).exists())
    if len(lacking) == 2:
        raise InputError(
            "no-release",
            f"There is neither {lacking[0]} nor {lacking[1]} in {folder}.",
            culprit=str(folder),
            remedy="Give the folder of a release: there is one once the training has ended, called release.",
        )
    problems: list[Finding] = []

    def read(name: str, verified: Callable[[Path, VerifiedCharter], Read]) -> Read | None:
        if name in lacking:
            return None
        try:
            return verified(folder, charter)
        except TamperingError as error:
            if error.reason == "other-charter":
                raise
            problems.append(Finding.of(error))
            return None

    release, checkpoints = read(STATEMENT_FILE, _statement), read(CHECKPOINTS_FILE, read_checkpoints)
    return Attested(release, checkpoints, lacking, tuple(problems))


def _statement(folder: Path, charter: VerifiedCharter) -> Release:
    signed, statement = read_release(folder)
    verify_statement(charter, signed, statement, str(folder / STATEMENT_FILE))
    return statement.predicate
