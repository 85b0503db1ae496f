"""A log that is not what its hospital signed for when the run ended accuses whom it should, and nobody else."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import asdict, replace

from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from secagg.egress import EGRESS, EgressEntry, EgressLog
from secagg.errors import TamperingError
from secagg.log_excerpt import take_excerpt
from secagg.release.checkpoints import read_checkpoints
from secagg.signed_log import read_signed
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.shown_records import (
    evidence_of,
    first_of,
    found,
    report,
    showing,
    states,
    with_another_sum,
    written_anew,
)
from training.engines.base import Phase
from training.reporting import evidence
from training.reporting.cross_check import cross_check
from training.reporting.evidence import gather_for_others, verify_evidence
from training.reporting.shown_log import read_shown_log
from training.reporting.sites import read_sites


@pytest.mark.parametrize("logs", [("ledger", "egress"), ("egress",)], ids="-".join)
def test_an_export_from_before_the_end_is_one_finding_that_asks_for_a_new_one(private, logs):
    evidence = evidence_of(private)[1].evidence
    shorter = {log: first_of(getattr(evidence, log), 4) for log in logs}
    told = report(private, showing(private, 2, made="2026-03-01T09:00:00+00:00", **shorter))
    (finding,) = told.findings
    assert (finding.reason, finding.culprit) == ("old-export", "h2")
    assert "What h2 shows was read from its logs on 2026-03-01T09:00:00+00:00" in finding.message
    assert "Ask h2 for a new export" in finding.message
    assert "h2" not in told.transcript.compared_with


def test_an_export_whose_egress_log_is_from_after_the_end_is_no_old_one_however_short_its_ledger(private):
    shorter = first_of(evidence_of(private)[1].evidence.ledger, 4)
    told = report(private, showing(private, 2, ledger=shorter))
    assert found(told)[0] == ("ledger-restored", "h2")
    assert set(found(told)[1:]) == {("uncharged-round", "h2")}


def beside(ward):
    """What a hospital signs of what is read beside the release of all."""
    return {"beside": read_checkpoints(ward.hospitals[1].release_folder, ward.charter).digest}


def test_what_was_read_beside_the_release_is_no_old_export(private):
    """A hospital's whole folder was put back: its own latch does not notice."""
    evidence = evidence_of(private)[1].evidence
    shorter = {log: first_of(getattr(evidence, log), 4) for log in ("ledger", "egress")}
    told = report(private, showing(private, 2, **shorter, **beside(private)))
    assert found(told)[:2] == [("ledger-restored", "h2"), ("egress-restored", "h2")]
    assert ("uncharged-round", "h2") in found(told)
    # Control: another list of checkpoints may be from before this one.
    assert ("old-export", "h2") in found(report(private, showing(private, 2, **shorter, beside="0" * 64)))


def test_who_makes_the_report_cannot_turn_an_old_export_into_what_was_read_beside_the_release(private):
    """Then it would be an older log that was put back, and a hospital that exported early would be accused."""
    site = evidence_of(private)[1]
    turned = replace(site, evidence=replace(site.evidence, **beside(private)))
    with pytest.raises(TamperingError) as caught:
        verify_evidence(turned, private.charter, private.folder)
    assert (caught.value.reason, caught.value.culprit) == ("evidence-altered", "h2")


@pytest.mark.parametrize("hospitals", [(2, 3), (2,)], ids=["of several hospitals", "of one for its officer"])
def test_what_was_read_for_an_earlier_report_is_an_old_export_where_it_is_used_once_more(open_ward, hospitals):
    """What a report holds is for passing on. Whoever has it can take out what h2 signed, and use it as an export."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 3)
    release = ward.hospitals[1].release_folder
    site, *_ = read_sites([ward.home(number).ledger.parent for number in hospitals], ward.charter, release)
    ward.coordinator().run()
    used = ward.folder / "h2.json"
    used.write_bytes(site.to_json())
    told = report(ward, read_sites([used], ward.charter, release))
    assert found(told) == found(report(ward, (site,))) == [("old-export", "h2")]
    assert site.evidence.made in told.findings[0].message
    log = read_shown_log(used, "h2", ward.charter)
    checked = cross_check(ward.folder / "coordinator/transcript", ward.charter, release, [log])
    assert [finding.reason for finding in checked.findings] == ["old-export"]


def test_control_what_is_read_beside_the_release_says_so_and_an_export_does_not(private):
    release, home = private.hospitals[1].release_folder, private.home(2)
    (site,) = read_sites([home.ledger.parent], private.charter, release)
    assert {"beside": site.evidence.beside} == beside(private)
    assert b'"beside"' not in evidence_of(private)[1].to_json()


def without_charge(ward, number, round_number, entries):
    """The beginning of a hospital's ledger, written anew without the charge of one round."""
    shown = [item.entry for item in evidence_of(ward)[number - 1].evidence.ledger.shown[:entries]]
    left = [entry for entry in shown if (entry.kind, entry.round) != (Kind.CHARGE, round_number)]
    return written_anew(left, LEDGER, ward.hospitals[number]._identity)


def test_charges_taken_out_of_the_middle_of_an_old_export_and_off_its_end_are_found(private):
    evidence = evidence_of(private)[1].evidence
    charges = [item.entry for item in evidence.ledger.shown if item.entry.kind == Kind.CHARGE]
    shorter = {
        "ledger": without_charge(private, 2, charges[0].round, charges[1].sequence),
        "egress": first_of(evidence.egress, len(evidence.egress.shown) - 4),
    }
    told = report(private, showing(private, 2, **shorter))
    assert found(told) == [("old-export", "h2"), ("uncharged-round", "h2")]
    # It is in the log that the last was masked for, and so it was charged by then.
    assert told.findings[1].message.endswith(f"as charged: {charges[0].round}, {charges[2].round}.")


def test_the_date_that_a_hospital_gives_of_its_export_reaches_no_terminal_as_it_is(private):
    shorter = first_of(evidence_of(private)[1].evidence.egress, 4)
    (finding,) = report(private, showing(private, 2, made="\x1b[2Jnow", egress=shorter)).findings
    assert "\x1b" not in finding.message


def test_control_an_export_of_another_log_than_it_signed_for_is_no_old_one(private):
    """As long as it was, with its first entry left out: a log written anew."""
    with EgressLog(private.folder / "anew.sqlite", private.hospitals[2]._identity) as log:
        for item in evidence_of(private)[1].evidence.egress.shown[1:] * 2:
            fields = {name: value for name, value in asdict(item.entry).items() if name not in ("sequence", "previous")}
            log.record(partial(EgressEntry, **fields))
    key = private.hospitals[2]._identity.public_key
    anew = take_excerpt(read_signed(private.folder / "anew.sqlite", key, EGRESS), lambda _entry: True)
    told = report(private, showing(private, 2, egress=anew))
    assert found(told)[0] == ("egress-restored", "h2")
    assert "other-sum" not in {reason for reason, _ in found(told)}
    assert "h2" not in told.transcript.compared_with


def test_a_sum_that_was_added_to_a_log_after_the_end_is_its_hospitals_and_says_nothing_of_others(private):
    sites = showing(private, 2, egress=with_another_sum(private, 2, evidence_of(private)[1].evidence.egress))
    told = report(private, sites)
    assert found(told) == [("taken-after-the-end", "h2")]
    assert states(told)["h2: egress log, since the run ended"] == "wrong"
    assert "h2" in told.transcript.compared_with
    # Control: without checkpoints nothing shows when it was added.
    assert "other-sum" in {reason for reason, _ in found(report(private, sites, release=False))}


def started_again(ward, number, state):
    """A hospital that starts with this in the place of its state, and a coordinator that starts once more."""
    hospital = ward.hospitals[number]
    records = hospital._setup.records
    hospital.close()
    ward.state_file(number).unlink()
    if state:
        ward.state_file(number).write_bytes(state)
    ward.hospitals[number] = ward.open_hospital(number, hospital.name, records)
    ward.coordinator().run()


@pytest.mark.parametrize("kept", [True, False], ids=["an older one was put back", "it is gone"])
def test_who_takes_sums_again_after_the_end_as_its_state_was_lost_is_not_accused(open_ward, kept):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 3)
    older = ward.state_file(2).read_bytes()
    ward.coordinator().run()
    before = len(evidence_of(ward)[1].evidence.egress.entries)
    started_again(ward, 2, older if kept else None)
    again = [entry for entry in evidence_of(ward)[1].evidence.egress.entries[before:] if entry.took_sum]
    assert len(again) == (1 if kept else 3)
    assert found(report(ward)) == []
    # Control: a sum that it never had is named all the same.
    sites = showing(ward, 2, egress=with_another_sum(ward, 2, evidence_of(ward)[1].evidence.egress))
    assert found(report(ward, sites)) == [("taken-after-the-end", "h2")]


@pytest.mark.parametrize("end", [False, True], ids=["a round", "the end"])
def test_what_comes_while_a_hospitals_logs_are_read_is_no_round_without_its_charge(open_ward, monkeypatch, end):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 2)
    read = evidence.read_signed_log
    going_on = [ward.coordinator().run if end else partial(ward.stop_before, Phase.MASK, 4)]

    def slowly(*arguments):
        found = read(*arguments)
        while going_on:
            going_on.pop()()
        return found

    monkeypatch.setattr(evidence, "read_signed_log", slowly)
    site = gather_for_others(ward.home(2), ward.charter, ward.hospitals[2]._identity)
    assert not going_on
    assert found(report(ward, (site,), transcript=False, release=False)) == []
    if end:
        assert found(report(ward, (site,))) == [("old-export", "h2")]
