"""What the hospitals of a ward show of their records, honestly or not, and what is reported of it."""

from __future__ import annotations

from msgspec.structs import replace

from secagg.egress import EGRESS
from secagg.log_excerpt import take_excerpt
from secagg.signed_log import FIRST_PREVIOUS
from training.reporting.computing import report_of
from training.reporting.evidence import SignedEvidence, _signed_bytes, gather_for_others, verify_evidence
from training.reporting.records import Sources, gather_records


def evidence_of(ward):
    return tuple(
        gather_for_others(ward.home(number), ward.charter, hospital._identity)
        for number, hospital in sorted(ward.hospitals.items())
    )


def report(ward, sites=None, transcript=True, release=True):
    sources = Sources(
        ward.hospitals[1].release_folder if release else None,
        ward.folder / "coordinator/transcript" if transcript else None,
    )
    shown = evidence_of(ward) if sites is None else sites
    return report_of(ward.charter, gather_records(ward.charter, shown, sources))


def found(report):
    return [(finding.reason, finding.culprit) for finding in report.findings]


def states(report):
    return {check.what: check.state for check in report.checks}


def signed_again(ward, number, evidence):
    """What a hospital that lies about its own records shows: signed by itself, as everything that it shows."""
    return SignedEvidence(evidence, ward.hospitals[number]._identity.sign(_signed_bytes(evidence)))


def showing(ward, number, **changes):
    """What all show, of whom one shows something else."""
    sites = list(evidence_of(ward))
    sites[number - 1] = signed_again(ward, number, replace(sites[number - 1].evidence, **changes))
    for site in sites:
        verify_evidence(site, ward.charter, ward.folder)
    return tuple(sites)


def first_of(log, entries):
    """What an export shows that was made when the log had no more."""
    return take_excerpt([(item.entry, item.signature) for item in log.shown[:entries]], lambda _entry: True)


def written_anew(entries, kind, identity):
    """A log of just these entries, each in its place and signed by whoever has the hospital's key."""
    previous, signed = FIRST_PREVIOUS, []
    for sequence, entry in enumerate(entries, 1):
        line = replace(entry, sequence=sequence, previous=previous)
        previous = kind.chain_hash(line.body())
        signed.append((line, identity.sign(kind.signed_bytes(line.body()))))
    return take_excerpt(signed, lambda _entry: True)


def with_another_sum(ward, number, log):
    """A hospital's egress log, to which it has added that it took another sum than the true one."""
    took = next(entry for entry in log.entries if entry.took_sum)
    return written_anew([*log.entries, replace(took, sha256="0" * 64)], EGRESS, ward.hospitals[number]._identity)
