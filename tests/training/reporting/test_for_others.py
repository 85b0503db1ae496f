"""What a hospital shows the others has nothing that only its own officer is told, by which it would choose figures."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cli.report_words import figures_of
from dp.ledger.entries import LEDGER
from secagg.egress import EGRESS
from secagg.errors import InputError, TamperingError
from tests.support.shown_records import evidence_of, report, signed_again, written_anew
from training.reporting.document import make_document, verify_document
from training.reporting.evidence import gather_site, verify_evidence
from training.reporting.records import Sources, gather_records
from training.reporting.sites import read_sites


def with_patients(evidence):
    return {"groups": tuple(replace(shared, patients=1) for shared in evidence.groups)}


def with_another_training(log, kind, **name):
    def changes(evidence, identity):
        first, *others = getattr(evidence, log).entries
        return {log: written_anew([replace(first, **name), *others], kind, identity)}

    return changes


OF_ITS_OFFICER = {
    "a budget": lambda _evidence, _identity: {"limit": 1000.0},
    "numbers of patients": lambda evidence, _identity: with_patients(evidence),
    "another training in the ledger": with_another_training("ledger", LEDGER, run="a" * 64),
    "another training in the log": with_another_training("egress", EGRESS, charter="a" * 64),
}


@pytest.mark.parametrize("changes", OF_ITS_OFFICER.values(), ids=OF_ITS_OFFICER)
def test_an_export_with_what_only_its_own_officer_is_told_is_refused(private, changes):
    evidence, identity = evidence_of(private)[1].evidence, private.hospitals[2]._identity
    shown = signed_again(private, 2, replace(evidence, **changes(evidence, identity)))
    with pytest.raises(TamperingError) as caught:
        verify_evidence(shown, private.charter, private.folder)
    assert (caught.value.reason, caught.value.culprit) == ("no-export", "h2")


def test_control_what_a_hospital_exports_and_its_officers_own_copy_are_not(private):
    for shown in (evidence_of(private)[1], own_copy(private, 2)):
        verify_evidence(shown, private.charter, private.folder)


def own_copy(ward, number):
    return gather_site(ward.home(number), ward.charter, ward.hospitals[number]._identity)


def places(ward, *shown):
    """Files with what is shown."""
    paths = [ward.folder / f"{site.evidence.member}.json" for site in shown]
    for path, site in zip(paths, shown, strict=True):
        path.write_bytes(site.to_json())
    return paths


def test_an_officers_own_copy_is_refused_in_a_report_on_several_hospitals(private):
    given = places(private, evidence_of(private)[0], own_copy(private, 2))
    with pytest.raises(InputError) as caught:
        read_sites(given, private.charter, None)
    assert (caught.value.reason, caught.value.culprit) == ("own-copy", "h2")


def test_nor_does_a_report_on_several_follow_from_one(private):
    sites = (evidence_of(private)[0], own_copy(private, 2))
    document = make_document(private.charter, gather_records(private.charter, sites, Sources()))
    path = private.folder / "report.json"
    path.write_bytes(document.to_json())
    with pytest.raises(InputError) as caught:
        verify_document(path, private.charter, Sources())
    assert (caught.value.reason, caught.value.culprit) == ("own-copy", "h2")


def test_control_alone_it_makes_the_report_of_that_hospital_with_its_budget(private):
    told = report(private, read_sites(places(private, own_copy(private, 2)), private.charter, None))
    assert told.about == "site"
    name, _, explained = figures_of(told)[0]
    assert name == "Spent or reserved"
    assert "of a budget of" in explained


def with_a_budget(ward):
    """What all show, of whom h2 says that it has a large budget."""
    sites = list(evidence_of(ward))
    sites[1] = signed_again(ward, 2, replace(sites[1].evidence, limit=1000.0))
    return tuple(sites)


def test_no_hospitals_budget_is_the_first_figure_of_a_report_on_several(private):
    told = report(private, with_a_budget(private))
    assert figures_of(told)[0] == figures_of(report(private))[0]
    assert figures_of(told)[0][0] == "Spent or reserved in this training"


def test_control_where_any_budget_that_is_shown_is_told_one_hospital_chooses_that_figure(private):
    told = replace(report(private, with_a_budget(private)), about="site")
    assert "of a budget of 1000" in figures_of(told)[0][2]
