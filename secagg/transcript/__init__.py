"""What a coordinator keeps, and how anybody recomputes every sum from it."""

from secagg.transcript.audit import EpochAudit, Finding, audit_epoch
from secagg.transcript.comparison import HospitalRecord, compare, compare_all, lacks_the_end
from secagg.transcript.files import AROUND, TranscriptWriter, cut_to_whole_events, read_events, transcript_files
from secagg.transcript.folder import TranscriptAudit, audit_folder
from secagg.transcript.refusals import forged_sums

__all__ = [
    "AROUND",
    "EpochAudit",
    "Finding",
    "HospitalRecord",
    "TranscriptAudit",
    "TranscriptWriter",
    "audit_epoch",
    "audit_folder",
    "compare",
    "compare_all",
    "cut_to_whole_events",
    "forged_sums",
    "lacks_the_end",
    "read_events",
    "transcript_files",
]
