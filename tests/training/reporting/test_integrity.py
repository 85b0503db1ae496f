"""What does not fit is a finding, whoever signed it; what fits is none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from secagg.release import attest, verify_release
from secagg.release.checkpoints import CHECKPOINTS_FILE
from secagg.release.dsse import assemble, read_signed
from secagg.release.folder import STATEMENT_FILE
from secagg.release.statement import MODEL_FILE, statement_bytes
from training.engines.embedded import DropOut, Phase
from training.reporting.computing import report_of
from training.reporting.evidence import SignedEvidence, _signed_bytes, gather_for_others, verify_evidence
from training.reporting.findings import Finding
from training.reporting.records import Sources, gather_records


@pytest.fixture
def finished(open_ward):
    """Four hospitals after a run without differential privacy, of which one missed a round; their release."""
    ward = open_ward()
    ward.coordinator(DropOut(2, 1, Phase.MASK)).run()
    return ward


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
    return report_of(ward.charter, gather_records(ward.charter, evidence_of(ward) if sites is None else sites, sources))


def found(report):
    return [(finding.reason, finding.culprit) for finding in report.findings]


def rewritten(ward, **changes):
    """The release of all with another statement, signed by all the same."""
    folder = ward.hospitals[1].release_folder
    release = replace(verify_release(folder).statement.predicate, **changes)
    payload = statement_bytes((folder / MODEL_FILE).read_bytes(), release)
    signed = assemble(payload, [attest(payload, hospital._identity) for hospital in ward.hospitals.values()])
    (folder / STATEMENT_FILE).write_bytes(signed.to_json())


def test_control_of_an_honest_run_nothing_is_found(finished):
    assert found(report(finished)) == []
    assert found(report(finished, transcript=False)) == []


# The release


def test_an_epsilon_that_is_stated_without_differential_privacy_is_found(finished):
    claim = verify_release(finished.hospitals[1].release_folder).statement.predicate.privacy
    rewritten(finished, privacy=replace(claim, epsilon=0.5))
    assert found(report(finished)) == [("unfounded-epsilon", "the release")]


# Logs


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


@pytest.mark.parametrize("log", ["ledger", "egress"])
def test_a_hospital_that_shows_no_log_and_says_nothing_is_found(finished, log):
    told = report(finished, showing(finished, 2, **{log: None}))
    assert (f"{log}-not-shown", "h2") in found(told)


def test_control_one_whose_log_cannot_be_read_says_so_and_is_found_by_that(finished):
    problem = Finding("egress-damaged", "It cannot be read.", "egress.sqlite", None)
    told = report(finished, showing(finished, 2, egress=None, problems=(problem,)), transcript=False)
    assert found(told) == [("egress-damaged", "egress.sqlite")]


# Checkpoints


def states(report):
    return {check.what: check.state for check in report.checks}


UNSIGNED = {
    "too few signatures": lambda signed: (signed.payload, signed.signatures[:2]),
    "no signature": lambda signed: (signed.payload, ()),
}


@pytest.mark.parametrize("change", UNSIGNED.values(), ids=UNSIGNED)
def test_a_list_of_the_transcript_that_too_few_have_signed_is_no_check(finished, change):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    assert "Transcript, since the run ended" not in states(report(finished))
    signed = read_signed(path.read_bytes())
    path.write_bytes(assemble(*change(signed)).to_json())
    told = states(report(finished))
    assert told["Transcript, since the run ended"] == told["Checkpoints of all logs"] == "absent"
