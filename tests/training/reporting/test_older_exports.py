"""What was exported too early, where no checkpoint of its logs is there: nobody is accused, and nothing is excused."""

from __future__ import annotations

import shutil

import pytest
from msgspec.structs import replace

from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from secagg.egress import EGRESS
from secagg.log_excerpt import take_excerpt
from secagg.masking import Purpose
from secagg.masking.journal import Around, Received
from secagg.release.checkpoints import CHECKPOINTS_FILE, read_checkpoints
from secagg.release.dsse import assemble, read_envelope
from secagg.transcript import TranscriptWriter, read_events, transcript_files
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.log_rows import overwrite, rows
from tests.support.shown_records import (
    evidence_of,
    first_of,
    found,
    report,
    showing,
    signed_again,
    with_another_sum,
    written_anew,
)
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.reporting.cross_check import cross_check
from training.reporting.shown_log import read_shown_log
from training.reporting.sites import read_sites


@pytest.fixture
def with_old_exports(open_ward):
    """A private run that has ended, without checkpoints; and what everybody exported before its second round."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 2)
    sites = evidence_of(ward)
    ward.coordinator().run()
    (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).unlink()
    return ward, sites


BESIDE = {"the transcript": {"release": False}, "the release": {"transcript": False}, "both": {}}


@pytest.mark.parametrize("given", BESIDE.values(), ids=BESIDE)
def test_exports_that_are_older_than_what_they_are_held_against_are_asked_for_anew(with_old_exports, given):
    ward, sites = with_old_exports
    told = report(ward, sites, **given)
    assert found(told) == [("old-export", f"h{number}") for number in (1, 2, 3, 4)]
    assert (
        f"What h2 shows was read from its logs on {sites[1].evidence.made}, and lacks the last"
        in told.findings[1].message
    )
    # Control: what is exported now lacks nothing.
    assert found(report(ward, **given)) == []


def test_what_an_older_export_does_show_is_compared(with_old_exports):
    ward, (site, *_) = with_old_exports
    assert report(ward, (site,)).transcript.compared_with == ("h1",)
    lying = replace(site.evidence, egress=with_another_sum(ward, 1, site.evidence.egress))
    assert "other-sum" in {reason for reason, _ in found(report(ward, (signed_again(ward, 1, lying),)))}


def test_so_is_an_export_or_a_copy_that_is_older_than_a_transcript(with_old_exports, tmp_path):
    ward, (_, site, *_) = with_old_exports
    exported, copy, newest = tmp_path / "h2.json", tmp_path / "old.sqlite", ward.home(2).egress
    exported.write_bytes(site.to_json())
    ward.close()
    copy.write_bytes(newest.read_bytes())
    overwrite(copy, rows(newest)[: len(site.evidence.egress.shown)])
    for log, reasons in ((exported, ["old-export"]), (copy, ["old-copy"]), (newest, [])):
        shown = [read_shown_log(log, "h2", ward.charter)]
        checked = cross_check(ward.folder / "coordinator/transcript", ward.charter, None, shown)
        assert [finding.reason for finding in checked.findings] == reasons


def test_an_export_from_before_the_coordinator_was_started_once_more_is_asked_for_anew(private):
    sites = evidence_of(private)
    private.coordinator().run()
    assert found(report(private, sites)) == [("old-export", f"h{number}") for number in (1, 2, 3, 4)]
    assert found(report(private)) == []


# Attacks


def hiding(log, place):
    """The same with a hash in the place of an entry."""
    return take_excerpt([(item.entry, item.signature) for item in log.shown], lambda entry: entry.sequence != place)


def without(log, kind, identity, place):
    return written_anew([entry for entry in log.entries if entry.sequence != place], kind, identity)


LIES = {
    "its own log has the last update": lambda ledger, egress, charges, masked, _: (
        first_of(ledger, charges[2] - 1),
        first_of(egress, masked[2]),
    ),
    "hashes are in the place of a round": lambda ledger, egress, charges, masked, _: (
        hiding(ledger, charges[1]),
        hiding(egress, masked[1]),
    ),
    "hashes are in the place of the last round": lambda ledger, egress, charges, masked, _: (
        hiding(ledger, charges[2]),
        hiding(egress, masked[2]),
    ),
    "a hash is in the place of the last charge": lambda ledger, egress, charges, masked, _: (
        hiding(ledger, charges[2]),
        first_of(egress, masked[2] - 1),
    ),
    "its own log has its word on the finished model": lambda ledger, egress, charges, masked, identity: (
        first_of(ledger, charges[2] - 1),
        without(egress, EGRESS, identity, masked[2]),
    ),
    "a charge is left out between others": lambda ledger, egress, charges, masked, identity: (
        without(first_of(ledger, charges[2]), LEDGER, identity, charges[1]),
        first_of(egress, masked[1] - 1),
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_shows_that_it_is_no_older_export_excuses_no_round_without_its_charge(private, lie):
    evidence = evidence_of(private)[1].evidence
    charges = [entry.sequence for entry in evidence.ledger.entries if entry.kind == Kind.CHARGE]
    masked = [entry.sequence for entry in evidence.egress.entries if entry.stage == "MASKED"]
    ledger, egress = lie(evidence.ledger, evidence.egress, charges, masked, private.hospitals[2]._identity)
    told = report(private, showing(private, 2, ledger=ledger, egress=egress), release=False)
    assert ("uncharged-round", "h2") in found(told)


def test_control_logs_that_both_end_before_a_round_may_have_been_exported_before_it(private):
    evidence = evidence_of(private)[1].evidence
    (_, _, charge) = (entry.sequence for entry in evidence.ledger.entries if entry.kind == Kind.CHARGE)
    (_, _, masked) = (entry.sequence for entry in evidence.egress.entries if entry.stage == "MASKED")
    cut = {"ledger": first_of(evidence.ledger, charge - 1), "egress": first_of(evidence.egress, masked - 1)}
    told = report(private, showing(private, 2, **cut), release=False)
    assert found(told) == [("old-export", "h2")]
    assert "or was left out" in told.findings[0].message


@pytest.fixture
def put_back(open_ward, tmp_path):
    """A private run that has ended without h2's word on its logs; its folder is that of the third round once more."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    folder = ward.home(2).ledger.parent
    shutil.copytree(folder, tmp_path / "older")
    ward = open_ward()
    ward.coordinator(DropOut(2, 0, Phase.RELEASE), DropOut(2, 0, Phase.WITNESS)).run()
    assert "h2" not in read_checkpoints(ward.hospitals[1].release_folder, ward.charter).by_name
    ward.hospitals.pop(2).close()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "older", folder)
    return ward, folder


@pytest.mark.parametrize("transcript", [True, False], ids=["a transcript", "none"])
def test_a_ledger_that_was_put_back_is_no_older_export_where_it_is_read_beside_the_checkpoints_of_others(
    put_back, transcript
):
    ward, folder = put_back
    sites = read_sites([folder], ward.charter, ward.hospitals[1].release_folder)
    assert ("uncharged-round", "h2") in found(report(ward, sites, transcript=transcript))


def test_control_beside_a_list_that_too_few_have_signed_it_may_be_older(put_back):
    """A coordinator can make such a list during the run."""
    ward, folder = put_back
    release = ward.hospitals[1].release_folder
    signed = read_envelope((release / CHECKPOINTS_FILE).read_bytes())
    (release / CHECKPOINTS_FILE).write_bytes(assemble(signed.payload, signed.signatures[:1]).to_json())
    assert found(report(ward, read_sites([folder], ward.charter, release))) == [("old-export", "h2")]


class GivingNoReleaseError(Exception):
    """The coordinator keeps the release to itself."""


class KeepingTheRelease:
    """Has everybody sign for the finished model, and gives nobody the release."""

    def __init__(self, parties):
        self._engine = EmbeddedEngine(parties)

    def exchange(self, phase, outbox, round_number):
        if phase is Phase.RELEASE:
            raise GivingNoReleaseError
        return self._engine.exchange(phase, outbox, round_number)


def another_epoch(coordinator, _opened):
    coordinator._bring_up_to_date()
    coordinator._sum(*coordinator._open_epoch(Purpose.TRAINING))


def another_round(coordinator, opened):
    coordinator._run_round(opened)


@pytest.mark.parametrize("go_on", [another_epoch, another_round])
def test_a_coordinator_that_goes_on_after_all_have_attested_accuses_nobody_who_exported_before(
    open_ward, monkeypatch, go_on
):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    coordinator, opened = ward.coordinator(engine=KeepingTheRelease(ward.hospitals)), []
    open_epoch = coordinator._open_epoch
    monkeypatch.setattr(coordinator, "_open_epoch", lambda purpose: opened.append(open_epoch(purpose)) or opened[-1])
    with pytest.raises(GivingNoReleaseError):
        coordinator.run()
    sites = evidence_of(ward)[1:2]
    assert any(entry.stage == "ATTEST" for entry in sites[0].evidence.egress.entries)
    server, _ = opened[-1]
    go_on(coordinator, server)
    assert ("h2", "finished") in ward.refused
    assert found(report(ward, sites, release=False)) == [("old-export", "h2")]


def test_a_later_message_that_the_transcript_has_among_earlier_ones_is_in_a_new_export(open_ward):
    """The order within a transcript is the coordinator's word."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.MASK, 3)
    sites = evidence_of(ward)[1:2]
    ward.coordinator().run()
    files = transcript_files(ward.folder / "coordinator/transcript")
    (first, *_, last) = ([*read_events(path, 1 << 24)] for path in files if "000000" not in path.name)
    later = next(event for event in last if isinstance(event, Received) and event.member == 2)
    path = next(path for path in files if "000001" in path.name)
    path.unlink()
    write = TranscriptWriter(path.parent, 1)
    for event in (Around(2, later.message), *first):
        write(event)
    assert ("not-in-its-log", "epoch 1") in found(report(ward, sites, release=False))
    assert found(report(ward, evidence_of(ward)[1:2], release=False)) == []
