"""A report as a file: what is told, and beside it the records that it was computed from, so that anybody can repeat it.

Knows the document and how it is verified with the charter alone: each record as it was when it was read, then the
report computed anew and compared. What the file does not hold (a transcript, a model) is repeated where it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import msgspec

from secagg.charter import VerifiedCharter
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED, json_for_people
from training.reporting.computing import report_of
from training.reporting.evidence import require_for_others, verify_evidence
from training.reporting.records import Records, Sources, gather_records, run_again
from training.reporting.report import Report

_LARGEST_FILE: Final = 1 << 29
# Machines compute an epsilon alike to so many places.
_PRECISION: Final = 1e-9


class ReportDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    report: Report
    records: Records

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """What `to_json` gave, with every name in the place that it has there. Raises `MALFORMED`."""
        return msgspec.json.decode(data, type=cls)

    def to_json(self) -> bytes:
        """Its bytes, indented for people."""
        return json_for_people(self, "sorted")


def make_document(charter: VerifiedCharter, records: Records) -> ReportDocument:
    """A report with what it was computed from."""
    return ReportDocument(report_of(charter, records), records)


def verify_document(path: Path, charter: VerifiedCharter, sources: Sources) -> ReportDocument:
    """Check that a report says what its records come to, and its records what was signed.

    Args:
        sources: what is given beside the file, to repeat what the file alone cannot show.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, ``not-a-report``, ``not-in-report``, ``own-copy``,
            ``duplicate-site``; what cannot be read of the sources.
        TamperingError: ``report-differs``, naming the first place; whatever is wrong with a record.
    """
    document = _read(path)
    records = document.records
    _require_held(path, records, sources)
    for signed in records.sites:
        verify_evidence(signed, charter, path)
    require_for_others(records.sites)
    _require_same(path, document.report, report_of(charter, records))
    _require_repeated(path, charter, records, sources)
    return document


def is_document(path: Path) -> bool:
    """Whether the file is a report, whatever it says.

    Raises:
        InputError: ``unreadable``, ``file-too-large``.
    """
    try:
        ReportDocument.from_json(read_bounded(path, _LARGEST_FILE))
    except MALFORMED:
        return False
    return True


def _require_held(path: Path, records: Records, sources: Sources) -> None:
    """Refuse to compare with what the report was made without: that it says nothing of it is no lie.

    Raises:
        InputError: ``not-in-report``.
    """
    of_release = records.statement or records.checkpoints or records.problems
    held = (
        ("release", sources.release, of_release),
        ("transcript", sources.transcript, records.transcript),
        ("audit", sources.audit, records.audit),
    )
    for name, given, kept in held:
        if given and not kept:
            raise InputError(
                "not-in-report",
                f"{path} says nothing of {given}, and there is nothing to compare: it was made without --{name}, or "
                "that was taken out of it.",
                culprit=str(path),
                remedy=f"Make a report with it, or leave out --{name}.",
            )


def _require_repeated(path: Path, charter: VerifiedCharter, records: Records, sources: Sources) -> None:
    if sources.release or sources.audit:
        again = gather_records(charter, records.sites, replace(sources, transcript=None))
        if sources.release:
            _require_repeats(path, sources.release, _of_release(records), _of_release(again))
        if sources.audit:
            _require_repeats(path, sources.audit, {"audit": records.audit}, {"audit": again.audit})
    if sources.transcript:
        found = run_again(sources.transcript, charter, records.sites, records.checkpoints)
        _require_repeats(path, sources.transcript, {"transcript": records.transcript}, {"transcript": found})


def _of_release(records: Records) -> dict[str, object]:
    return {
        "statement": records.statement,
        "checkpoints": records.checkpoints,
        "problems": records.problems,
    }


def _read(path: Path) -> ReportDocument:
    data = read_bounded(path, _LARGEST_FILE)
    try:
        document = ReportDocument.from_json(data)
    except MALFORMED as error:
        raise InputError(
            "not-a-report",
            f"{path} is not a report: {error}.",
            culprit=str(path),
            remedy="Give the JSON file that `secagg audit report` wrote beside the page, to the version that wrote it.",
        ) from error
    if document.to_json() != data:
        raise _differs(path, "its formatting", "it is not written as secagg writes it")
    return document


def _require_same(path: Path, told: Report, found: Report) -> None:
    for place, one, other in _differences(msgspec.to_builtins(told), msgspec.to_builtins(found), ""):
        raise _differs(path, place, f"it says {_short(one)}, the records say {_short(other)}")


def _require_repeats(path: Path, source: Path, told: object, found: object) -> None:
    """Whether something that is given beside the report gives what the report holds of it."""
    for place, one, other in _differences(msgspec.to_builtins(told), msgspec.to_builtins(found), ""):
        raise TamperingError(
            "report-differs",
            f"{path} is not what {source} gives, at {place}: it says {_short(one)}, there it is {_short(other)}.",
            culprit=place,
            remedy="Either was changed, or what is given is not what the report was made from, such as a later copy. "
            "Make the report again, and do not rely on this one.",
        )


def _differences(told: object, found: object, place: str) -> Iterator[tuple[str, object, object]]:
    match told, found:
        case dict(), dict() if told.keys() == found.keys():
            for key in told:
                yield from _differences(told[key], found[key], f"{place}.{key}" if place else str(key))
        case ((list() | tuple()), (list() | tuple())) if len(told) == len(found):
            for number, (one, other) in enumerate(zip(told, found, strict=True)):
                yield from _differences(one, other, f"{place}[{number}]")
        case float(), float() if math.isclose(told, found, rel_tol=_PRECISION):
            return
        case _ if told != found or type(told) is not type(found):
            yield place, told, found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _differs(path: Path, place: str, why: str) -> TamperingError:
    return TamperingError(
        "report-differs",
        f"{path} does not follow from its records, at {place}: {why}.",
        culprit=place,
        remedy="Make the report again from the records, and do not rely on this one.",
    )
