"""What a coordinator keeps, and how anybody recomputes every sum from it."""

from secagg.transcript.audit import EpochAudit, Finding, HospitalRecord, RoundAudit, audit_epoch, compare
from secagg.transcript.files import AROUND, TranscriptWriter, read_events, transcript_files

__all__ = [
    "AROUND",
    "EpochAudit",
    "Finding",
    "HospitalRecord",
    "RoundAudit",
    "TranscriptWriter",
    "audit_epoch",
    "compare",
    "read_events",
    "transcript_files",
]
