"""A coordinator gives one hospital a forged sum. It refuses, signs that, and stops: whoever audits the run hears it."""

from __future__ import annotations

import msgspec
import pytest

from secagg.encoding import pack, unpack
from secagg.errors import ProtocolError
from secagg.masking import Purpose, Session
from secagg.masking.messages import Sum
from secagg.wire import Stage
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import choices_of, training_of
from tests.support.replies import read
from tests.support.shown_records import evidence_of, found, report
from training.engines.base import Phase
from training.engines.embedded import EmbeddedEngine
from training.reporting import cross_check as cross_checking
from training.reporting import integrity, rounds
from training.reporting.cross_check import cross_check
from training.reporting.evidence import gather_site
from training.reporting.shown_log import read_shown_log

VICTIM = 3


class ForgingForOne(EmbeddedEngine):
    """A coordinator that keeps the true sum of round 2, and gives hospital 3 another."""

    def __init__(self, ward):
        super().__init__(ward.hospitals)
        self._ward = ward

    def exchange(self, phase, outbox, round_number):
        if (phase, round_number) == (Phase.APPLY, 2):
            outbox = [(number, self._forged(number, message)) for number, message in outbox]
        return super().exchange(phase, outbox, round_number)

    def _forged(self, number, message):
        header = peek(message)
        if (number, header.stage) != (VICTIM, Stage.SUM):
            return message
        session = Session(self._ward.charter, header.epoch, Purpose.TRAINING, header.round, 1)
        true = decode(read(self._ward, message).payload, Sum)
        elements = unpack(true.vector, session.length, session.ring)
        elements[0] += 1
        forged = msgspec.structs.replace(true, vector=memoryview(pack(elements, session.ring)))
        return self._ward.forge(Stage.SUM, forged, epoch=header.epoch, round_number=header.round)


@pytest.fixture
def forged(open_ward):
    """Five hospitals with three sums, of whom the third was given a forged one in round 2, and so signs no release."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=3)))
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=ForgingForOne(ward)).run()
    assert caught.value.reason == "release-incomplete"
    assert set(ward.refused) == {("h3", "forged-sum")}
    return ward


def audited(ward, folder, *names):
    """The transcript, beside what these hospitals have exported."""
    logs = []
    for site in evidence_of(ward):
        if site.evidence.member in names:
            path = folder / f"{site.evidence.member}.json"
            path.write_bytes(site.to_json())
            logs.append(read_shown_log(path, site.evidence.member, ward.charter))
    return cross_check(ward.folder / "coordinator/transcript", ward.charter, None, logs)


def told(ward, *names, transcript=True):
    sites = tuple(site for site in evidence_of(ward) if site.evidence.member in names)
    return found(report(ward, sites, transcript=transcript, release=False))


def test_the_transcript_has_its_refusal_which_is_found_without_any_log(forged, tmp_path):
    (finding,) = audited(forged, tmp_path).findings
    assert (finding.round, finding.reason) == (2, "forged-sum")
    assert "h3 signed, when it was in round 2, that it was given a forged sum." in finding.message
    assert "is what the messages add up to" in finding.message


def test_what_it_exports_says_so_too_also_where_the_coordinator_leaves_its_refusal_out(forged, tmp_path, monkeypatch):
    assert [finding.reason for finding in audited(forged, tmp_path, "h3").findings] == ["forged-sum"] * 2
    monkeypatch.setattr(cross_checking, "forged_sums", lambda _epochs: [])
    (finding,) = audited(forged, tmp_path, "h3").findings
    assert "h3 signed, when it showed its records, that it was given a forged sum" in finding.message
    assert "Either the coordinator gave h3 another sum than it kept" in finding.message
    assert finding.culprit is None


def test_what_a_hospital_shows_to_its_own_officer_names_it_too_where_others_are_given_it(forged, tmp_path):
    path = tmp_path / "h3.json"
    path.write_bytes(gather_site(forged.home(3), forged.charter, forged.hospitals[3]._identity).to_json())
    log = read_shown_log(path, "h3", forged.charter)
    checked = cross_check(forged.folder / "coordinator/transcript", forged.charter, None, [log])
    assert all(finding.message.startswith("h3 signed, when it") for finding in checked.findings)
    assert len(checked.findings) == 2


def test_a_report_says_so_with_the_hospitals_own_records_and_without_them(forged):
    assert told(forged, "h1", "h2") == [("forged-sum", "epoch 1")]
    assert told(forged, "h1", "h3") == [("forged-sum", None), ("forged-sum", "epoch 1")]
    assert told(forged, "h1", "h3", transcript=False) == [("forged-sum", None)]


def test_control_who_hears_neither_the_refusal_nor_the_export_finds_nothing(forged, tmp_path, monkeypatch):
    for place in (cross_checking, rounds):
        monkeypatch.setattr(place, "forged_sums", lambda _epochs: [])
    monkeypatch.setattr(cross_checking, "said_by", lambda _site: [])
    monkeypatch.setattr(integrity, "problems_of", lambda _site: [])
    assert told(forged, "h1", "h3") == []
    checked = audited(forged, tmp_path, "h1", "h3")
    assert checked.findings == ()
    # As if the log of the one that refused it said the same of that round.
    assert (checked.compared["h1"], checked.compared["h3"]) == ({1, 2, 3}, {1})


def test_control_of_an_honest_run_nothing_is_said_of_forged_sums(finished, tmp_path):
    assert audited(finished, tmp_path, "h1", "h3").findings == ()
